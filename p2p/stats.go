package p2p

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/internal/sign"
)

// counter only grows.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64)  { c.n.Add(n) }
func (c *counter) value() uint64 { return c.n.Load() }

// counters are the Host's, in the order of Stats.
type counters struct {
	published, delivered              counter
	gossipDropped, gossipUndelivered  counter
	gossipThrottled                   counter
	gossipRejects, gossipIgnored      counter
	linkDropped, linkRefused          counter
	busy, slow, penalties, strangers  counter
	refusals                          counter
	blobIn, blobOut, blobBad          counter
	gatePassed, gateOutsiders         counter
	gateForeign                       counter
	gateBanned, gateDials             counter
	doorOpened, doorRefused, doorBusy counter
	putOut                            counter
	holesTried, holesMade             counter
}

// Stats is what the host has seen since it started.
type Stats struct {
	Peers    int `json:"peers"`
	Inbound  int `json:"inbound"`
	Outbound int `json:"outbound"`

	RoutingTable int `json:"routing_table"` // peers in the DHT's routing table; 0 on a client

	Published         uint64 `json:"gossip_published"`
	Delivered         uint64 `json:"gossip_delivered"`
	GossipDropped     uint64 `json:"gossip_dropped"`     // a peer's outbound queue was full
	GossipUndelivered uint64 `json:"gossip_undelivered"` // this node's subscriber was too slow
	GossipThrottled   uint64 `json:"gossip_throttled"`   // the validation queue was full, or a peer sent too much
	GossipRejected    uint64 `json:"gossip_rejected"`
	GossipIgnored     uint64 `json:"gossip_ignored"`
	LinkDropped       uint64 `json:"link_dropped"` // a link's queue was full
	LinkRefused       uint64 `json:"link_refused"` // a peer without the right to a link opened one
	Busy              uint64 `json:"busy"`         // requests refused by rate or concurrency
	Slow              uint64 `json:"slow"`         // streams closed because the peer kept them waiting
	Penalties         uint64 `json:"penalties"`
	Strangers         uint64 `json:"strangers"` // connections closed: another network, or none
	Refused           uint64 `json:"refused"`   // by resource limits
	BlobBytesIn       uint64 `json:"blob_bytes_in"`
	BlobBytesOut      uint64 `json:"blob_bytes_out"`
	BlobsBad          uint64 `json:"blobs_bad"`   // bytes that were not what was asked for
	HolesTried        uint64 `json:"holes_tried"` // direct connections that were tried in place of relayed ones
	HolesMade         uint64 `json:"holes_made"`

	Gate Gate `json:"gate"`

	// Refusals are the resource limits that refused something, by scope.
	Refusals []Refusal `json:"refusals,omitempty"`
}

// Gate is how often the gate said what since the host started. On an open network it refuses only who is banned.
type Gate struct {
	Passed      uint64 `json:"passed"`       // handshakes of members
	Outsiders   uint64 `json:"outsiders"`    // handshakes of who is no member, closed
	Foreign     uint64 `json:"foreign"`      // handshakes of foreign peers that the configuration lists, on a private network
	Banned      uint64 `json:"banned"`       // handshakes of who sent garbage before, closed
	Dials       uint64 `json:"dials"`        // own dials to outsiders and banned peers, not made
	DoorOpened  uint64 `json:"door_opened"`  // admissions shown at the door and taken
	DoorRefused uint64 `json:"door_refused"` // admissions shown at the door and refused
	DoorBusy    uint64 `json:"door_busy"`    // knocks that found too many others at the door
	PutOut      uint64 `json:"put_out"`      // connections closed because membership ended
}

// Stats is a snapshot.
func (p *Host) Stats() Stats {
	c := &p.stats
	s := Stats{
		Published: c.published.value(), Delivered: c.delivered.value(),
		GossipDropped: c.gossipDropped.value(), GossipUndelivered: c.gossipUndelivered.value(), GossipThrottled: c.gossipThrottled.value(),
		GossipRejected: c.gossipRejects.value(), GossipIgnored: c.gossipIgnored.value(),
		LinkDropped: c.linkDropped.value(), LinkRefused: c.linkRefused.value(),
		Busy: c.busy.value(), Slow: c.slow.value(), Penalties: c.penalties.value(), Strangers: c.strangers.value(), Refused: c.refusals.value(),
		BlobBytesIn: c.blobIn.value(), BlobBytesOut: c.blobOut.value(), BlobsBad: c.blobBad.value(),
		HolesTried: c.holesTried.value(), HolesMade: c.holesMade.value(),
		Gate: Gate{
			Passed: c.gatePassed.value(), Outsiders: c.gateOutsiders.value(), Foreign: c.gateForeign.value(), Banned: c.gateBanned.value(), Dials: c.gateDials.value(),
			DoorOpened: c.doorOpened.value(), DoorRefused: c.doorRefused.value(), DoorBusy: c.doorBusy.value(), PutOut: c.putOut.value(),
		},
		Refusals: p.guard.list(),
	}
	if p.dht != nil {
		s.RoutingTable = p.dht.RoutingTable().Size()
	}
	for _, i := range p.Peers() {
		s.Peers++
		if i.Direction == "inbound" {
			s.Inbound++
		} else {
			s.Outbound++
		}
	}
	slices.SortFunc(s.Refusals, func(a, b Refusal) int {
		if a.Scope < b.Scope {
			return -1
		}
		return 1
	})
	return s
}

// PeerInfo is one connected peer of this network.
type PeerInfo struct {
	Key       sign.PublicKey `json:"key"`
	ID        string         `json:"id"`
	Addrs     []string       `json:"addrs"`     // of the open connections
	Listens   []string       `json:"listens"`   // where it says that it listens, TCP first
	Direction string         `json:"direction"` // "inbound" or "outbound", of the oldest connection
	Latency   time.Duration  `json:"latency_ns"`
	Agent     string         `json:"agent"`
	Since     time.Time      `json:"since"`
}

// Peers is the connected peers of this network, in order of their keys.
func (p *Host) Peers() []PeerInfo {
	p.mu.Lock()
	since := make(map[peer.ID]time.Time, len(p.members))
	for id, t := range p.members {
		since[id] = t
	}
	p.mu.Unlock()
	var out []PeerInfo
	for id, t := range since {
		conns := p.h.Network().ConnsToPeer(id)
		key, ok := PublicKey(id)
		if !ok || len(conns) == 0 {
			continue
		}
		i := PeerInfo{Key: key, ID: id.String(), Since: t, Latency: p.h.Peerstore().LatencyEWMA(id), Direction: "outbound"}
		first := conns[0]
		for _, c := range conns {
			i.Addrs = append(i.Addrs, c.RemoteMultiaddr().String())
			if c.Stat().Opened.Before(first.Stat().Opened) {
				first = c
			}
		}
		if first.Stat().Direction == network.DirInbound {
			i.Direction = "inbound"
		}
		i.Listens = p.listens(id)
		if v, err := p.h.Peerstore().Get(id, "AgentVersion"); err == nil {
			if a, ok := v.(string); ok {
				i.Agent = clip(a, 64)
			}
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b PeerInfo) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return out
}

// listens are the addresses under which a peer may be dialed by others, as it told them.
func (p *Host) listens(id peer.ID) []string {
	var plain, others []string
	for _, a := range p.h.Peerstore().Addrs(id) {
		if hasDoor(a) {
			plain = append(plain, a.String())
		} else {
			others = append(others, a.String())
		}
	}
	slices.Sort(plain)
	slices.Sort(others)
	return append(plain, others...)
}

// collector shows Stats to Prometheus.
type collector struct{ p *Host }

var peersGauge = prometheus.NewDesc("bpci_peers", "Connected peers of this network, by who dialed.", []string{"direction"}, nil)

// metric is one counter's description and where its value is.
type metric struct {
	desc  *prometheus.Desc
	value func(*counters) *counter
}

func total(name, help string, value func(*counters) *counter) metric {
	return metric{prometheus.NewDesc("bpci_"+name+"_total", help, nil, nil), value}
}

var metrics = []metric{
	total("gossip_published", "Messages published by this node.", func(c *counters) *counter { return &c.published }),
	total("gossip_delivered", "Messages delivered to this node.", func(c *counters) *counter { return &c.delivered }),
	total("gossip_dropped", "Gossip dropped because a peer's outbound queue was full.", func(c *counters) *counter { return &c.gossipDropped }),
	total("gossip_undelivered", "Gossip dropped because this node's subscriber was too slow.", func(c *counters) *counter { return &c.gossipUndelivered }),
	total("gossip_throttled", "Gossip dropped because the validation queue was full, or a peer or all together sent too much.", func(c *counters) *counter { return &c.gossipThrottled }),
	total("gossip_rejected", "Gossip rejected as invalid.", func(c *counters) *counter { return &c.gossipRejects }),
	total("gossip_ignored", "Gossip ignored as old, early or known.", func(c *counters) *counter { return &c.gossipIgnored }),
	total("link_dropped", "Link messages dropped because the queue was full.", func(c *counters) *counter { return &c.linkDropped }),
	total("link_refused", "Links refused to peers without the right to one.", func(c *counters) *counter { return &c.linkRefused }),
	total("requests_busy", "Requests refused by rate or concurrency.", func(c *counters) *counter { return &c.busy }),
	total("streams_slow", "Streams closed because the peer kept a frame or an answer waiting.", func(c *counters) *counter { return &c.slow }),
	total("penalties", "Times a peer was scored for what it sent.", func(c *counters) *counter { return &c.penalties }),
	total("strangers", "Connections closed to peers of another network.", func(c *counters) *counter { return &c.strangers }),
	total("resource_refusals", "Connections, streams and memory refused by resource limits.", func(c *counters) *counter { return &c.refusals }),
	total("put_out", "Connections closed because the peer's membership ended.", func(c *counters) *counter { return &c.putOut }),
	total("blob_in_bytes", "Blob bytes fetched from peers.", func(c *counters) *counter { return &c.blobIn }),
	total("blob_out_bytes", "Blob bytes served to peers.", func(c *counters) *counter { return &c.blobOut }),
	total("holes_tried", "Direct connections that were tried in place of relayed ones.", func(c *counters) *counter { return &c.holesTried }),
	total("holes_made", "Direct connections that took the place of relayed ones.", func(c *counters) *counter { return &c.holesMade }),
	total("blobs_bad", "Answers to fetches that were not what was asked for.", func(c *counters) *counter { return &c.blobBad }),
}

var (
	gateDesc    = prometheus.NewDesc("bpci_gate_verdicts_total", "What the gate said of handshakes and dials, and the door of admissions.", []string{"verdict"}, nil)
	tableGauge  = prometheus.NewDesc("bpci_routing_table", "Peers in the routing table of the DHT.", nil, nil)
	connsGauge  = prometheus.NewDesc("bpci_connections", "Open connections, by who dialed and over what.", []string{"direction", "transport"}, nil)
	refusedDesc = prometheus.NewDesc("bpci_resource_refusals_by_scope_total", "Refusals by resource limits, by the class of scope.", []string{"scope"}, nil)
)

// gateVerdicts are the values of bpci_gate_verdicts_total's label.
var gateVerdicts = map[string]func(*counters) *counter{
	"passed":       func(c *counters) *counter { return &c.gatePassed },
	"outsider":     func(c *counters) *counter { return &c.gateOutsiders },
	"foreign":      func(c *counters) *counter { return &c.gateForeign },
	"banned":       func(c *counters) *counter { return &c.gateBanned },
	"dial":         func(c *counters) *counter { return &c.gateDials },
	"door_opened":  func(c *counters) *counter { return &c.doorOpened },
	"door_refused": func(c *counters) *counter { return &c.doorRefused },
	"door_busy":    func(c *counters) *counter { return &c.doorBusy },
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- peersGauge
	ch <- gateDesc
	ch <- connsGauge
	ch <- tableGauge
	ch <- refusedDesc
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	in, out := 0, 0
	for _, i := range c.p.Peers() {
		if i.Direction == "inbound" {
			in++
		} else {
			out++
		}
	}
	ch <- prometheus.MustNewConstMetric(peersGauge, prometheus.GaugeValue, float64(in), "inbound")
	ch <- prometheus.MustNewConstMetric(peersGauge, prometheus.GaugeValue, float64(out), "outbound")
	for verdict, value := range gateVerdicts {
		ch <- prometheus.MustNewConstMetric(gateDesc, prometheus.CounterValue, float64(value(&c.p.stats).value()), verdict)
	}
	for _, x := range c.p.connections() {
		ch <- prometheus.MustNewConstMetric(connsGauge, prometheus.GaugeValue, float64(x.Count), x.Direction, x.Transport)
	}
	if c.p.dht != nil {
		ch <- prometheus.MustNewConstMetric(tableGauge, prometheus.GaugeValue, float64(c.p.dht.RoutingTable().Size()))
	}
	for scope, n := range c.p.guard.byClass() {
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(n), scope)
	}
	for _, m := range metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(&c.p.stats).value()))
	}
}
