package p2p

import (
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// Overview is what a person wants to know of the ways to and from a host.
type Overview struct {
	Private     bool
	Sealed      bool
	Ends        time.Time // of this peer's own invitation; zero if it has none
	MaxPeers    int
	Connections []Connections
	NAT         []NAT
	Reach       Reach
	Bootstrap   []BootstrapPeer
	Foreign     []ForeignPeer
}

// Connections is the number of open connections of one kind.
type Connections struct {
	Direction string // "inbound" or "outbound"
	Transport string // "tcp", "quic-v1", "websocket", "p2p-circuit"
	Count     int
}

// NAT is the kind of address translation in front of this host, in words.
type NAT struct{ Transport, Kind string }

// BootstrapPeer is a peer that the configuration names.
type BootstrapPeer struct {
	ID        string
	Address   string
	Connected bool
	Error     string // of the last dial; "" if it was answered or not made yet
}

// Overview is a snapshot.
func (p *Host) Overview() Overview {
	o := Overview{Private: p.roll != nil, Sealed: p.cfg.SwarmKey != nil, MaxPeers: p.cfg.MaxPeers, Connections: p.connections()}
	if end, ok := p.admissionEnds(); ok {
		o.Ends = end
	}
	p.mu.Lock()
	for _, b := range p.boot {
		_, connected := p.members[b.ID]
		x := BootstrapPeer{ID: b.ID.String(), Address: b.Addrs[0].String() + "/p2p/" + b.ID.String(), Connected: connected}
		if !connected {
			x.Error = p.bootErrors[b.ID]
		}
		o.Bootstrap = append(o.Bootstrap, x)
	}
	o.Foreign = p.foreignOverview()
	p.mu.Unlock()
	if p.ways != nil {
		p.ways.mu.Lock()
		defer p.ways.mu.Unlock()
		o.Reach = p.ways.reach
		for _, t := range slices.Sorted(maps.Keys(p.ways.nat)) {
			o.NAT = append(o.NAT, NAT{t, p.ways.nat[t]})
		}
	}
	return o
}

// connections counts what is open, in order of direction and transport.
func (p *Host) connections() []Connections {
	counts := map[Connections]int{}
	for _, c := range p.h.Network().Conns() {
		k := Connections{Direction: "outbound", Transport: c.ConnState().Transport}
		if c.Stat().Direction == network.DirInbound {
			k.Direction = "inbound"
		}
		counts[k]++
	}
	out := make([]Connections, 0, len(counts))
	for k, n := range counts {
		k.Count = n
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Connections) int {
		if a.Direction+a.Transport < b.Direction+b.Transport {
			return -1
		}
		return 1
	})
	return out
}
