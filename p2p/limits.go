package p2p

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
)

// A stranger's address may hold this many connections, and open this many a second.
const (
	strangerConns     = 8
	strangerConnRPS   = 10
	strangerConnBurst = 40
)

// Refusal is one kind of thing the resource manager refused.
type Refusal struct {
	Scope string    `json:"scope"`
	Limit string    `json:"limit"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// guard is the resource manager with its refusals counted and told: without it a peer that is refused sees a bare EOF
// and nobody knows why.
type guard struct {
	network.ResourceManager
	log   *slog.Logger
	total *counter

	mu       sync.Mutex
	refusals map[string]*Refusal // by scope class and limit; bounded by maxRefusals
	classes  map[string]uint64   // by scopeClass, which are few
}

const maxRefusals = 64

// newGuard builds the resource manager. The limits are at least twice the connection manager's high mark, so that it
// is the connection manager, which knows who is useful, that lets peers go, and not a bare refusal.
func newGuard(c Config, total *counter) (*guard, error) {
	g := &guard{log: c.Logger, total: total, refusals: map[string]*Refusal{}, classes: map[string]uint64{}}
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	base := scaling.AutoScale()
	conns := rcmgr.LimitVal(max(4*c.MaxPeers, 128))
	limits := rcmgr.PartialLimitConfig{
		System:    rcmgr.ResourceLimits{Conns: 2 * conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns, Streams: 64 * conns, StreamsInbound: 32 * conns, StreamsOutbound: 64 * conns},
		Transient: rcmgr.ResourceLimits{Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns, Streams: 8 * conns, StreamsInbound: 4 * conns, StreamsOutbound: 8 * conns},
		// Eight of the largest frames or answers of one peer on one protocol; the other limits on memory are the library's.
		ProtocolPeerDefault: rcmgr.ResourceLimits{Memory: 8 * MaxFrame},
	}.Build(base)

	var v4, v6 []rcmgr.NetworkPrefixLimit
	var rates []rate.PrefixLimit
	for _, p := range c.LocalSubnets {
		l := rcmgr.NetworkPrefixLimit{Network: p, ConnCount: math.MaxInt}
		if p.Addr().Is4() {
			v4 = append(v4, l)
		} else {
			v6 = append(v6, l)
		}
		rates = append(rates, rate.PrefixLimit{Prefix: p})
	}
	stranger := rate.Limit{RPS: strangerConnRPS, Burst: strangerConnBurst}
	rm, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithTraceReporter(g),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: strangerConns}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: strangerConns}, {PrefixLength: 48, ConnCount: 8 * strangerConns}}),
		rcmgr.WithNetworkPrefixLimit(v4, v6),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: rates,
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: stranger}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: stranger}},
				GracePeriod:      time.Minute,
			},
		}))
	if err != nil {
		return nil, fmt.Errorf("p2p: resource limits: %w", err)
	}
	g.ResourceManager = rm
	return g, nil
}

// OpenConnection tells of the refusals that the limits on addresses make; those have no trace event.
func (g *guard) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	s, err := g.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		scope := "address"
		if ip, ok := addrIP(endpoint); ok {
			scope = "address " + ip.String()
		}
		g.refused(scope, err.Error())
	}
	return s, err
}

// ConsumeEvent implements rcmgr.TraceReporter.
func (g *guard) ConsumeEvent(e rcmgr.TraceEvt) {
	switch e.Type {
	case rcmgr.TraceBlockAddConnEvt:
		g.refused(e.Name, fmt.Sprintf("connections (in %d, out %d, fd %d held)", e.ConnsIn, e.ConnsOut, e.FD))
	case rcmgr.TraceBlockAddStreamEvt:
		g.refused(e.Name, fmt.Sprintf("streams (in %d, out %d held)", e.StreamsIn, e.StreamsOut))
	case rcmgr.TraceBlockReserveMemoryEvt:
		g.refused(e.Name, fmt.Sprintf("memory (%d bytes held)", e.Memory))
	}
}

// refused counts, and logs the first of its kind and then at most one a minute.
func (g *guard) refused(scope, limit string) {
	g.total.add(1)
	now := time.Now()
	for _, class := range []string{"conn-", "stream-"} { // these scopes carry a serial number
		if strings.HasPrefix(scope, class) {
			scope = strings.TrimSuffix(class, "-")
		}
	}
	g.mu.Lock()
	g.classes[scopeClass(scope)]++
	r := g.refusals[scope]
	if r == nil {
		if len(g.refusals) >= maxRefusals {
			for k := range g.refusals { // any will do: the total keeps the count
				delete(g.refusals, k)
				break
			}
		}
		r = &Refusal{Scope: scope}
		g.refusals[scope] = r
	}
	tell := r.Count == 0 || now.Sub(r.Last) > time.Minute
	r.Limit, r.Last = limit, now
	r.Count++
	n := r.Count
	g.mu.Unlock()
	if tell {
		g.log.Warn("resource limit refused a peer", "scope", scope, "limit", limit, "times", n)
	}
}

// scopeClass is what a scope is of, without whose it is: a label of a metric must not grow with the number of strangers.
func scopeClass(scope string) string {
	end := strings.IndexAny(scope, ": /")
	if end < 0 {
		end = len(scope)
	}
	switch c := scope[:end]; c {
	case "system", "transient", "service", "protocol", "peer", "conn", "stream", "address":
		return c
	}
	return "other"
}

// byClass is a copy of the counts by class of scope.
func (g *guard) byClass() map[string]uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.classes)
}

// list is a copy of the refusals.
func (g *guard) list() []Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Refusal, 0, len(g.refusals))
	for _, r := range g.refusals {
		out = append(out, *r)
	}
	return out
}

// addrIP is the IP address of a multiaddr.
func addrIP(m ma.Multiaddr) (netip.Addr, bool) {
	for _, code := range []int{ma.P_IP4, ma.P_IP6} {
		if v, err := m.ValueForProtocol(code); err == nil {
			ip, err := netip.ParseAddr(v)
			return ip, err == nil
		}
	}
	return netip.Addr{}, false
}
