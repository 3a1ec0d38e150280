package p2p

import (
	"crypto/rand"
	"testing"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

func TestOnlyValidatorsAndBootstrapPeersAreProtected(t *testing.T) {
	id := func(n byte) peer.ID {
		seed := make([]byte, 32)
		seed[0] = n
		return PeerID(sign.FromSeed(seed).Public())
	}
	validator, both, boot, useful := id(1), id(2), id(3), id(4)
	for most, low := range map[int]int{50: 37, 8: 5, 4: 1, 2: 1, 1: 1} {
		k, err := newKeeper(Config{MaxPeers: most, Protected: []peer.ID{validator, both}}, []peer.AddrInfo{{ID: both}, {ID: boot}})
		if err != nil {
			t.Fatal(err)
		}
		if got := k.GetInfo(); got.LowWater != low || got.HighWater != most {
			t.Errorf("max_peers %d: marks %d and %d, want %d and %d", most, got.LowWater, got.HighWater, low, most)
		}
		var m connmgr.ConnManager = k // as the libraries see it
		for _, tag := range []string{"kbucket", "pubsub:topic"} {
			m.Protect(useful, tag)
			if m.IsProtected(useful, "") || m.GetTagInfo(useful).Tags[tag] != worthUseful {
				t.Errorf("%s: protected %v, %+v", tag, m.IsProtected(useful, ""), m.GetTagInfo(useful))
			}
			if m.Unprotect(useful, tag) || m.GetTagInfo(useful).Value != 0 {
				t.Errorf("%s taken back: %+v", tag, m.GetTagInfo(useful))
			}
			if m.Unprotect(validator, tag); !m.IsProtected(validator, "") {
				t.Errorf("%s took a validator's protection", tag)
			}
		}
		for _, kept := range []peer.ID{validator, both, boot} {
			if !m.IsProtected(kept, "") {
				t.Errorf("%s is not protected", kept)
			}
		}
		if _, ok := connmgr.SupportsDecay(m); !ok {
			t.Error("gossip cannot use decaying tags any more")
		}
		_ = k.Close()
	}
}

func TestProtectionGoesWithTheValidators(t *testing.T) {
	a, b, self := testKeyFor(t), testKeyFor(t), testKeyFor(t)
	p := testHost(t, func(c *Config) { c.Key, c.Protected = self, []peer.ID{PeerID(a.Public())} })
	conns := p.h.ConnManager()
	safe := func(k sign.PrivateKey) bool { return conns.IsProtected(PeerID(k.Public()), tagValidator) }
	if !safe(a) || safe(b) {
		t.Fatal("at the start not the configured validators are protected")
	}
	p.ProtectOnly([]sign.PublicKey{b.Public(), self.Public()})
	if safe(a) || !safe(b) || safe(self) {
		t.Error("not the new validators are protected")
	}
	p.ProtectOnly(nil)
	if safe(b) {
		t.Error("a validator that left is still protected")
	}
}

func testKeyFor(t *testing.T) sign.PrivateKey {
	t.Helper()
	k, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
