package node

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/invite"
)

// meshConfig is the mesh as the configuration wants it.
func (n *Node) meshConfig() (p2p.Config, error) {
	cfg := n.cfg.P2P
	subnets, err := prefixes(cfg.SharedNetworks)
	if err != nil {
		return p2p.Config{}, err
	}
	m, err := n.cfg.Mesh(n.genesis, n.keys.node.Public())
	if err != nil {
		return p2p.Config{}, err
	}
	if m.Ticket != nil && m.Ticket.Invitation.Expired(time.Now()) {
		n.log.Warn("this peer's invitation has expired: members let it in only if the chain names it", "expired", m.Ticket.Invitation.Expires().UTC(), "next", "ask for a new one, and give it to this peer with: bpi network join")
	}
	return p2p.Config{
		Key: n.keys.node, Network: n.genesis.DisplayName(), ListenPort: int(cfg.ListenPort), ListenAddrs: cfg.ListenAddresses,
		Bootstrap: cfg.Bootstrap, MaxPeers: cfg.MaxPeers, DataDir: n.cfg.ChainDir(), EnableEncryption: cfg.EnableEncryption,
		LocalSubnets: subnets, Agent: "metanode/" + n.opts.Version, Logger: n.log.With("room", "p2p"), Registerer: n.registry,
		Private: m.Private, SwarmKey: m.SwarmKey, NoQUIC: !cfg.EnableQUIC, WebSocket: cfg.WebSocket, WebSocketPort: int(cfg.WebSocketPort),
		DHTServer: cfg.Reachable, Relay: cfg.RelayService, ForeignPeers: cfg.ForeignPeers, MaxGuests: cfg.MaxGuests,
	}, nil
}

// chainMembers are the peers that the chain lets into a private network: the validators of the set in force, and the
// executors that are admitted.
func (n *Node) chainMembers(set *consensus.ValidatorSet) []sign.PublicKey {
	var out []sign.PublicKey
	for _, v := range set.All() {
		if !v.Peer.IsZero() {
			out = append(out, v.Peer)
		}
	}
	for _, x := range n.ledger.head.Load().state.Nodes() {
		out = append(out, x.Peer)
	}
	return out
}

// Network implements api.Admin.
func (b *backend) Network(ctx context.Context, check bool) (api.Network, error) {
	h := b.n.host
	if check {
		h.CheckReach(ctx)
	}
	o, s := h.Overview(), h.Stats()
	out := api.Network{
		Name: h.Network(), Private: o.Private, Sealed: o.Sealed, Addresses: h.Addrs(), MaxPeers: o.MaxPeers, Refused: s.Refused,
		Gate: api.GateCounts(s.Gate), Connections: []api.Connections{}, Reach: api.Reach{Asked: []api.ReachPeer{}}, Holes: api.Holes{Tried: s.HolesTried, Made: s.HolesMade},
	}
	if !o.Ends.IsZero() {
		out.InvitationEnds = uint64(o.Ends.UnixMilli())
	}
	for _, c := range o.Connections {
		out.Connections = append(out.Connections, api.Connections(c))
	}
	for _, r := range s.Refusals {
		out.Refusals = append(out.Refusals, api.Refusal{Scope: r.Scope, Limit: r.Limit, Count: r.Count, LastMs: uint64(r.Last.UnixMilli())})
	}
	for _, l := range []api.Loss{
		{What: "gossip to a peer whose queue was full", Count: s.GossipDropped}, {What: "gossip that this node was too slow for", Count: s.GossipUndelivered},
		{What: "gossip that waited too long to be checked", Count: s.GossipThrottled}, {What: "gossip that was not valid", Count: s.GossipRejected},
		{What: "messages of links whose queue was full", Count: s.LinkDropped}, {What: "links of peers that may have none", Count: s.LinkRefused},
		{What: "requests over a peer's rate or share", Count: s.Busy}, {What: "streams that a peer kept waiting", Count: s.Slow},
		{What: "connections to peers of other networks", Count: s.Strangers},
		{What: "connections to the API or the gateway beyond an address's share", Count: b.n.connsRefused()},
	} {
		if l.Count > 0 {
			out.Losses = append(out.Losses, l)
		}
	}
	for _, m := range h.Members() {
		out.Members = append(out.Members, api.Member{
			ID: m.ID, Key: m.Key, Name: b.n.nameOf(m.Key), How: m.How, Invitation: m.Invitation, ExpiresMs: m.ExpiresMs, Connected: m.Connected,
		})
	}
	for _, x := range o.NAT {
		out.NAT = append(out.NAT, api.NAT(x))
	}
	if !o.Reach.At.IsZero() {
		out.Reach.AtMs = uint64(o.Reach.At.UnixMilli())
	}
	for _, a := range o.Reach.Asked {
		p := api.ReachPeer{ID: a.ID, Observed: a.Observed, NAT: a.NAT, Error: a.Error, Ports: []api.ReachPort{}}
		for _, x := range a.Ports {
			p.Ports = append(p.Ports, api.ReachPort{Port: int(x.Port), OK: x.OK, Error: x.Error})
		}
		out.Reach.Asked = append(out.Reach.Asked, p)
	}
	for _, x := range o.Bootstrap {
		out.Bootstrap = append(out.Bootstrap, api.BootstrapPeer(x))
	}
	for _, f := range o.Foreign {
		x := api.ForeignPeer{ID: f.ID, Agent: f.Agent, Listed: f.Listed, Connected: f.Connected, Error: f.Error}
		if !f.Since.IsZero() {
			x.SinceMs = uint64(f.Since.UnixMilli())
		}
		out.Foreign = append(out.Foreign, x)
	}
	return out, nil
}

// Revoke implements api.Admin.
func (b *backend) Revoke(_ context.Context, raw []byte) (api.RevocationTaken, error) {
	if !b.n.cfg.P2P.Private {
		return api.RevocationTaken{}, api.Malformed("invitations are for networks with private = true in [p2p]", "this node's network is open: there is no invitation to revoke")
	}
	x, err := invite.DecodeRevocation(raw)
	if err != nil {
		return api.RevocationTaken{}, api.Malformed("", "%v", err)
	}
	out := api.RevocationTaken{ID: x.ID.String()}
	for _, m := range b.n.host.Members() {
		if m.Invitation == out.ID && m.How == p2p.MemberByInvitation {
			out.PutOut++
		}
	}
	if err := b.n.host.Revoke(x); err != nil {
		return api.RevocationTaken{}, api.Malformed("sign it with the key of an inviter: an operator that the genesis document names, or one of inviters in [p2p]", "%v", err)
	}
	out.Told = len(b.n.host.Peers())
	return out, nil
}

// meshWarnings are what a person should know of the mesh, a sentence each.
func (n *Node) meshWarnings() []string {
	var w []string
	if s := n.host.Stats(); s.Refused > 0 {
		w = append(w, fmt.Sprintf("resource limits of the mesh refused %d connections, streams or pieces of memory since the start; bpi network resources explains them", s.Refused))
	}
	if end := n.host.Overview().Ends; !end.IsZero() && time.Until(end) < invitationWarning {
		if left := time.Until(end); left > 0 {
			w = append(w, fmt.Sprintf("this peer's invitation ends in %s; ask for a new one, and give it to this peer with: bpi network join", left.Round(time.Minute)))
		} else {
			w = append(w, "this peer's invitation has ended: members let it in only if the chain names it; ask for a new one, and give it to this peer with: bpi network join")
		}
	}
	return w
}

// invitationWarning is how long before its end a peer's invitation is spoken of.
const invitationWarning = 6 * time.Hour

// withProfiles adds Go's profiles to the handler of the unix socket, which only the node's user may open.
func withProfiles(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
