package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/pnet"
)

func newSwarmKey(t testing.TB) *SwarmKey {
	t.Helper()
	k, err := NewSwarmKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSwarmKeyFileIsKubos(t *testing.T) {
	k := newSwarmKey(t)
	path := filepath.Join(t.TempDir(), "swarm.key")
	if err := os.WriteFile(path, k.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := ReadSwarmKey(path)
	if err != nil || *back != *k || back.Fingerprint() != k.Fingerprint() {
		t.Fatalf("read %v, %v", back, err)
	}
	theirs, err := pnet.DecodeV1PSK(bytes.NewReader(k.Encode()))
	if err != nil || !bytes.Equal(theirs, k.psk()) {
		t.Fatalf("libp2p reads another key: %v", err)
	}
	// As kubo's own generator writes it.
	raw := "/key/swarm/psk/1.0.0/\n/base16/\n" + strings.Repeat("ab", 32)
	if _, err := DecodeSwarmKey([]byte(raw)); err != nil {
		t.Errorf("without a last newline: %v", err)
	}
	for what, raw := range map[string]string{
		"begin with":       "rubbish",
		"unknown encoding": swarmKeyHead + "\n/base32/\n",
		"EOF":              swarmKeyHead + "\n/base16/\nabcd",
		"over":             swarmKeyHead + strings.Repeat("x", maxSwarmKeyBytes),
		"all zero":         swarmKeyHead + "\n/base16/\n" + strings.Repeat("00", 32),
	} {
		if _, err := DecodeSwarmKey([]byte(raw)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ReadSwarmKey(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "whoever runs") {
		t.Errorf("no file: %v", err)
	}
}

func FuzzSwarmKey(f *testing.F) {
	f.Add(newSwarmKey(f).Encode())
	f.Add([]byte(swarmKeyHead + "\n/bin/\n" + strings.Repeat("k", 32)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := DecodeSwarmKey(raw)
		if err != nil {
			return
		}
		if back, err := DecodeSwarmKey(k.Encode()); err != nil || *back != *k {
			t.Fatalf("a key does not survive its file: %v", err)
		}
	})
}

func TestSealedNetworkRefusesQUIC(t *testing.T) {
	_, err := New(Config{Key: seeded(1), Network: "n", EnableEncryption: true, ListenAddrs: []string{"127.0.0.1"}, SwarmKey: newSwarmKey(t)})
	if !errors.Is(err, ErrSealedQUIC) || !strings.Contains(err.Error(), "enable_quic = false") {
		t.Fatalf("error %v", err)
	}
}

func TestWithoutTheSwarmKeyThereIsNoHandshake(t *testing.T) {
	t.Parallel()
	k := newSwarmKey(t)
	sealed := func(k *SwarmKey) func(*Config) {
		return func(c *Config) { c.SwarmKey, c.NoQUIC, c.WebSocket = k, true, true }
	}
	a, b := testHost(t, sealed(k)), testHost(t, sealed(k))
	for _, at := range a.Addrs() {
		if strings.Contains(at, "quic") {
			t.Errorf("a sealed host listens on %s", at)
		}
	}
	if len(a.Addrs()) != 2 {
		t.Fatalf("addresses %v: want TCP and WebSocket", a.Addrs())
	}
	for _, at := range a.Addrs() {
		c := testHost(t, all(sealed(k), func(c *Config) { c.Client = true }))
		if _, err := c.Connect(t.Context(), at); err != nil {
			t.Errorf("with the key, %s: %v", at, err)
		}
	}
	connect(t, a, b)

	other := testHost(t, sealed(newSwarmKey(t)))
	for _, at := range a.Addrs() {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if _, err := other.Connect(ctx, at); err == nil {
			t.Errorf("with another key, %s: connected", at)
		}
		i, err := parseFull(at)
		if err != nil {
			t.Fatal(err)
		}
		h := outsider(t)
		if err := h.Connect(ctx, i); err == nil {
			t.Errorf("without a key, %s: connected", at)
		}
		if v, err := h.Peerstore().Get(i.ID, "AgentVersion"); err == nil {
			t.Errorf("without a key, %s: learnt %v", at, v)
		}
		cancel()
	}
	// What the outsider reads is no word of libp2p's: 24 random bytes, and then nothing that it can read.
	c, err := net.Dial("tcp", netipAt(t, a).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte("\x13/multistream/1.0.0\n"))
	got, _ := io.ReadAll(io.LimitReader(c, 64))
	if bytes.Contains(got, []byte("multistream")) {
		t.Errorf("the outsider reads %q", got)
	}
	if a.Stats().Gate.Passed < 2 {
		t.Errorf("gate %+v", a.Stats().Gate)
	}
	stock := outsider(t, libp2p.NoTransports, libp2p.PrivateNetwork(k.psk()), libp2p.DefaultPrivateTransports)
	i, err := parseFull(a.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := stock.Connect(t.Context(), i); err != nil {
		t.Errorf("a stock libp2p host with the key: %v", err)
	}
}

func TestDoorOfASealedPrivateNetwork(t *testing.T) {
	t.Parallel()
	k := newSwarmKey(t)
	a, _ := two(t, func(c *Config) { c.SwarmKey, c.NoQUIC, c.WebSocket = k, true, true })
	for n, at := range a.Addrs() {
		who := seeded(byte(10 + n))
		adm := mustBind(t, newTicket(t, time.Hour, a), who)
		if _, err := Knock(t.Context(), who, at, adm, false, k); err != nil {
			t.Errorf("with the key, %s: %v", at, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		if _, err := Knock(ctx, who, at, adm, false, nil); err == nil || errors.Is(err, ErrNotAdmitted) {
			t.Errorf("without the key, %s: %v", at, err)
		}
		cancel()
	}
	j := testHost(t, all(invited(t, seeded(30), newTicket(t, time.Hour, a)), func(c *Config) { c.SwarmKey, c.NoQUIC = k, true }))
	eventually(t, "the joiner is in", func() bool { return a.isMember(j.ID()) && j.isMember(a.ID()) })
}
