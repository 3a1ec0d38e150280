package configs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/invite"
)

func seeded(n byte) sign.PrivateKey { return sign.FromSeed(bytes.Repeat([]byte{n}, 32)) }

// founded is the document of a network with one node, whose operator is seeded(2).
func founded() *consensus.Genesis {
	app := enc.Genesis{
		OpenClients: true, Clients: []sign.PublicKey{}, SQLEngine: digest.Of([]byte("engine")), SQLBytes: 6, Params: enc.DefaultParams(),
		Nodes: []enc.GenesisNode{{Node: seeded(1).Public(), Operator: seeded(2).Public()}},
	}
	return &consensus.Genesis{Version: consensus.ProtocolVersion, Name: "acme", App: canon.Must(&app)}
}

func TestMeshIsReadFromTheFilesThatItNames(t *testing.T) {
	g, dir := founded(), t.TempDir()
	ticket := func(chain digest.Digest, peer sign.PublicKey) string {
		b := invite.Body{
			Network: "acme-1", Chain: chain, Peer: peer, IssuedMs: uint64(time.Now().UnixMilli()), ExpiresMs: uint64(time.Now().Add(time.Hour).UnixMilli()),
			Bootstrap: []string{"/ip4/192.0.2.7/tcp/4001/p2p/" + p2p.PeerID(seeded(1).Public()).String()},
		}
		k, err := invite.New(b, seeded(2), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k.Text()
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := p2p.NewSwarmKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.P2P.Private, c.P2P.EnableQUIC, c.P2P.MDNS = true, false, false
	c.P2P.SwarmKey = write("swarm.key", string(key.Encode()))
	c.P2P.Invitation = write("invitation.txt", ticket(g.ChainID(), sign.PublicKey{})+"\n")
	c.P2P.AllowedPeers = []string{p2p.PeerID(seeded(4).Public()).String()}
	c.P2P.Inviters = []string{seeded(5).Public().String()}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := c.Mesh(g, seeded(3).Public())
	if err != nil {
		t.Fatal(err)
	}
	p := m.Private
	if *m.SwarmKey != *key || p.Chain != g.ChainID() || !p.NoMDNS || len(p.Allowed) != 1 || p.Allowed[0] != seeded(4).Public() {
		t.Errorf("mesh %+v", p)
	}
	if len(p.Inviters) != 2 || p.Inviters[0] != seeded(2).Public() || p.Inviters[1] != seeded(5).Public() {
		t.Errorf("inviters %v", p.Inviters)
	}
	if p.Admission == nil || p.Admission.Peer != seeded(3).Public() {
		t.Errorf("admission %+v", p.Admission)
	}
	for want, text := range map[string]string{
		"ask for one to this network": ticket(digest.Of([]byte("x")), sign.PublicKey{}),
		"for another peer":            ticket(g.ChainID(), seeded(9).Public()),
		"damaged":                     ticket(g.ChainID(), sign.PublicKey{})[:200],
		"at most":                     strings.Repeat("x", maxInvitationFile+1),
	} {
		c.P2P.Invitation = write("bad", text)
		if _, err := c.Mesh(g, seeded(3).Public()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c.P2P.Invitation = filepath.Join(dir, "none")
	if _, err := c.Mesh(g, seeded(3).Public()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "bpi network join") {
		t.Errorf("no file: %v", err)
	}
	if m, err := (&Config{}).Mesh(g, seeded(3).Public()); err != nil || m.Private != nil || m.SwarmKey != nil {
		t.Errorf("an open network's mesh %+v, %v", m, err)
	}
}

func TestForeignPeersAreNamedByIDOrAddress(t *testing.T) {
	id := p2p.PeerID(seeded(7).Public()).String()
	for _, good := range []string{id, "/ip4/192.0.2.7/tcp/4001/p2p/" + id} {
		c := Default()
		c.P2P.ForeignPeers = []string{good}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for want, change := range map[string]func(*P2P){
		"neither a peer id nor": func(p *P2P) { p.ForeignPeers = []string{"kubo"} },
		"names no peer":         func(p *P2P) { p.ForeignPeers = []string{"/ip4/192.0.2.7/tcp/4001"} },
		"allowed_peers as well": func(p *P2P) {
			p.Private, p.AllowedPeers, p.ForeignPeers = true, []string{id}, []string{"/ip4/192.0.2.7/tcp/4001/p2p/" + id}
		},
		"at most 256":    func(p *P2P) { p.ForeignPeers = slices.Repeat([]string{id}, 257) },
		"p2p.max_guests": func(p *P2P) { p.MaxGuests = -1 },
	} {
		c := Default()
		change(&c.P2P)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
