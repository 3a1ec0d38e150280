package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/invite"
)

// running starts a node and stops it with the test.
func running(t *testing.T, cfg configs.Config) *Node {
	t.Helper()
	n, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n
}

// status asks an address of the node for a path.
func status(t *testing.T, network, addr, path string) int {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	resp, err := c.Get("http://node" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestProfilesAreOnTheUnixSocketOnly(t *testing.T) {
	n := running(t, testConfig(t))
	const path = "/debug/pprof/goroutine?debug=1"
	for _, at := range []struct {
		network, addr string
		want          int
	}{{"unix", n.cfg.API.Socket, http.StatusOK}, {"tcp", n.address("API"), http.StatusNotFound}, {"tcp", n.address("gateway"), http.StatusNotFound}} {
		if got := status(t, at.network, at.addr, path); got != at.want {
			t.Errorf("%s %s answers %d, want %d", at.network, at.addr, got, at.want)
		}
	}
	if got := status(t, "unix", n.cfg.API.Socket, "/v1/status"); got != http.StatusOK {
		t.Errorf("the API on the socket answers %d", got)
	}
}

func TestPrivateNodeKnowsItsMembersAndTakesRevocations(t *testing.T) {
	cfg := testConfig(t)
	cfg.P2P.Private = true
	inviter := sign.FromSeed(bytes.Repeat([]byte{77}, 32))
	cfg.P2P.Inviters = []string{inviter.Public().String()}
	friend := sign.FromSeed(bytes.Repeat([]byte{78}, 32))
	cfg.P2P.AllowedPeers = []string{p2p.PeerID(friend.Public()).String()}
	n := running(t, cfg)
	b := &backend{n}
	m, err := b.Network(t.Context(), false)
	if err != nil || !m.Private || m.Sealed || m.Name != n.genesis.DisplayName() {
		t.Fatalf("network %+v, %v", m, err)
	}
	how := map[sign.PublicKey]string{}
	for _, x := range m.Members {
		how[x.Key] = x.How
	}
	if how[friend.Public()] != p2p.MemberByConfig || how[n.host.Self()] != p2p.MemberByChain {
		t.Errorf("members %+v", m.Members)
	}
	body := invite.Body{
		Network: m.Name, Chain: n.genesis.ChainID(), Bootstrap: n.host.Addrs()[:1],
		IssuedMs: uint64(time.Now().UnixMilli()), ExpiresMs: uint64(time.Now().Add(time.Hour).UnixMilli()),
	}
	k, err := invite.New(body, inviter, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	guest := sign.FromSeed(bytes.Repeat([]byte{79}, 32))
	a, err := k.Bind(guest.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p2p.Knock(t.Context(), guest, n.host.Addrs()[0], a, false, nil); err != nil {
		t.Fatal(err)
	}
	id, ends := k.Invitation.Body.ID, k.Invitation.Expires()
	for _, bad := range [][]byte{nil, []byte("rubbish"), invite.Revoke(n.genesis.ChainID(), id, ends, guest).Encode()} {
		if _, err := b.Revoke(t.Context(), bad); !errors.Is(err, &api.Error{Code: api.CodeMalformed}) {
			t.Errorf("revocation %q: %v", bad, err)
		}
	}
	taken, err := b.Revoke(t.Context(), invite.Revoke(n.genesis.ChainID(), id, ends, inviter).Encode())
	if err != nil || taken.PutOut != 1 || taken.ID != id.String() {
		t.Fatalf("revocation: %+v, %v", taken, err)
	}
	if _, err := p2p.Knock(t.Context(), guest, n.host.Addrs()[0], a, false, nil); !errors.Is(err, p2p.ErrNotAdmitted) {
		t.Errorf("the guest comes again: %v", err)
	}
	if m, err := b.Network(t.Context(), false); err != nil || slices.ContainsFunc(m.Members, func(x api.Member) bool { return x.Key == guest.Public() }) || m.Gate.DoorRefused != 1 {
		t.Errorf("afterwards %+v, %v", m, err)
	}
}

func TestOpenNodeTakesNoRevocation(t *testing.T) {
	n := running(t, testConfig(t))
	if _, err := (&backend{n}).Revoke(t.Context(), []byte{1}); err == nil || !strings.Contains(err.Error(), "open") {
		t.Errorf("revocation: %v", err)
	}
}

func TestNodeNamesWhatIsWrongWithItsInvitation(t *testing.T) {
	cfg := testConfig(t)
	cfg.P2P.Private, cfg.P2P.Invitation = true, filepath.Join(t.TempDir(), "none")
	if n, err := New(cfg, Options{}); err == nil || !strings.Contains(err.Error(), "bpi network join") {
		if n != nil {
			n.Close()
		}
		t.Errorf("no file: %v", err)
	}
}
