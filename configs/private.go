package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/invite"
)

// checkPrivate refuses settings of private and sealed networks that do not go together.
func (p *P2P) checkPrivate(bad func(key, format string, args ...any)) {
	for _, s := range p.AllowedPeers {
		if _, err := p2p.ParsePeer(s); err != nil {
			bad("p2p.allowed_peers", "%v", err)
		}
	}
	for _, s := range p.Inviters {
		var k sign.PublicKey
		if err := k.UnmarshalText([]byte(s)); err != nil {
			bad("p2p.inviters", "%v; bpi key show operator gives it", err)
		}
	}
	if !p.Private {
		for key, set := range map[string]bool{"p2p.allowed_peers": len(p.AllowedPeers) > 0, "p2p.inviters": len(p.Inviters) > 0, "p2p.invitation": p.Invitation != ""} {
			if set {
				bad(key, "set, and the network is open: it would keep nobody out; set private = true, or remove the key")
			}
		}
	}
	if p.SwarmKey != "" && p.EnableQUIC {
		bad("p2p.swarm_key", "%v", p2p.ErrSealedQUIC)
	}
	if p.WebSocket && p.WebSocketPort != 0 && p.WebSocketPort == p.ListenPort {
		bad("p2p.websocket_port", "%d is listen_port as well: WebSocket needs a port of its own, or 0", p.WebSocketPort)
	}
}

// checkForeign refuses foreign peers that cannot be told who they are.
func (p *P2P) checkForeign(bad func(key, format string, args ...any)) {
	for _, s := range p.ForeignPeers {
		i, err := p2p.ParseForeign(s)
		if err != nil {
			bad("p2p.foreign_peers", "%v", err)
			continue
		}
		if k, ok := p2p.PublicKey(i.ID); ok && slices.Contains(p.AllowedPeers, p2p.PeerID(k).String()) {
			bad("p2p.foreign_peers", "%s is one of allowed_peers as well: it is either a member or a foreign peer", i.ID)
		}
	}
	if len(p.ForeignPeers) > p2p.MaxForeign {
		bad("p2p.foreign_peers", "%d entries: at most %d", len(p.ForeignPeers), p2p.MaxForeign)
	}
	if p.MaxGuests < 0 || p.MaxGuests > 1000 {
		bad("p2p.max_guests", "%d: want 0 to 1000", p.MaxGuests)
	}
}

// Inviters may sign invitations to the network of g: the operators that the document names, and those of the file.
func (c *Config) Inviters(g *consensus.Genesis) ([]sign.PublicKey, error) {
	var app enc.Genesis
	if err := canon.Unmarshal(g.App, &app); err != nil {
		return nil, fmt.Errorf("genesis document: application part: %w", err)
	}
	var out []sign.PublicKey
	for _, n := range app.Nodes {
		out = append(out, n.Operator)
	}
	for _, s := range c.P2P.Inviters {
		var k sign.PublicKey
		if err := k.UnmarshalText([]byte(s)); err != nil {
			return nil, fmt.Errorf("p2p.inviters: %w", err)
		}
		out = append(out, k)
	}
	return out, nil
}

// Mesh is what the configuration says of who is let in, and how: nil for what it says nothing of.
type Mesh struct {
	Private  *p2p.Private
	SwarmKey *p2p.SwarmKey
	Ticket   *invite.Ticket // of Invitation
}

// Mesh reads the files that the configuration names for the network of g. node is the peer that the invitation is for.
func (c *Config) Mesh(g *consensus.Genesis, node sign.PublicKey) (Mesh, error) {
	var m Mesh
	var err error
	if c.P2P.SwarmKey != "" {
		if m.SwarmKey, err = p2p.ReadSwarmKey(c.P2P.SwarmKey); err != nil {
			return m, err
		}
	}
	if !c.P2P.Private {
		return m, nil
	}
	m.Private = &p2p.Private{Chain: g.ChainID(), NoMDNS: !c.P2P.MDNS}
	if m.Private.Inviters, err = c.Inviters(g); err != nil {
		return m, err
	}
	for _, s := range c.P2P.AllowedPeers {
		k, err := p2p.ParsePeer(s)
		if err != nil {
			return m, fmt.Errorf("p2p.allowed_peers: %w", err)
		}
		m.Private.Allowed = append(m.Private.Allowed, k)
	}
	if c.P2P.Invitation == "" {
		return m, nil
	}
	if m.Ticket, err = ReadInvitation(c.P2P.Invitation); err != nil {
		return m, err
	}
	if b := m.Ticket.Invitation.Body; b.Chain != m.Private.Chain {
		return m, fmt.Errorf("%s: the invitation is for network %s, and this peer's is %s; ask for one to this network", c.P2P.Invitation, b.Network, g.DisplayName())
	}
	if m.Private.Admission, err = m.Ticket.Bind(node); err != nil {
		return m, fmt.Errorf("%s: %w", c.P2P.Invitation, err)
	}
	return m, nil
}

// maxInvitationFile bounds an invitation's file.
const maxInvitationFile = 16 << 10

// ReadInvitation reads a file with an invitation's text.
func ReadInvitation(path string) (*invite.Ticket, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("invitation %s: %w; give this peer one with: bpi network join", path, os.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("invitation: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxInvitationFile+1))
	if err != nil {
		return nil, fmt.Errorf("invitation %s: %w", path, err)
	}
	t, err := invite.ParseText(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("invitation %s: %w", path, err)
	}
	return t, nil
}
