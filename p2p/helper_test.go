package p2p

import (
	"context"
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/sign"
)

// testHost makes a host on loopback with a free port, runs it, and closes it with the test.
func testHost(t *testing.T, change func(*Config)) *Host {
	t.Helper()
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Key: key, Network: "testnet-1", ListenAddrs: []string{"127.0.0.1"}, EnableEncryption: true}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = p.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end after Close")
		}
	})
	return p
}

// eventually asks again until ok, for at most 15 seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(15 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}

func connect(t *testing.T, a, b *Host) {
	t.Helper()
	if _, err := a.Connect(t.Context(), b.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both know each other", func() bool { return a.isMember(b.ID()) && b.isMember(a.ID()) })
}

// netipAt is the TCP address that a host listens on.
func netipAt(t *testing.T, h *Host) netip.AddrPort {
	t.Helper()
	parts := strings.Split(h.Addrs()[0], "/")
	at, err := netip.ParseAddrPort(parts[2] + ":" + parts[4])
	if err != nil {
		t.Fatal(err)
	}
	return at
}
