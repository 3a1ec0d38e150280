package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p"
)

// withMesh asks the local node about its mesh.
func withMesh(c *cli.Context, e *env, check bool, f func(api.Network) error) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		m, err := n.Network(ctx, check)
		if err != nil {
			return err
		}
		return f(m)
	})
}

func networkMembers(c *cli.Context, e *env) error {
	e.admin = true
	return withMesh(c, e, false, func(m api.Network) error {
		if !m.Private {
			e.say("the network %s is open: everybody may connect", m.Name)
		}
		if e.json {
			return writeJSON(e.out, m.Members)
		}
		if !m.Private {
			return nil
		}
		t := newTable(e.out, "PEER", "NAME", "BY", "UNTIL", "INVITATION", "LINK")
		for _, x := range m.Members {
			until, link := "-", "-"
			if x.ExpiresMs > 0 {
				until = time.UnixMilli(int64(x.ExpiresMs)).UTC().Format(time.RFC3339)
			}
			if x.Connected {
				link = "connected"
			}
			t.row(x.ID, orDash(x.Name), x.How, until, orDash(x.Invitation), link)
		}
		return t.flush()
	})
}

func networkGuests(c *cli.Context, e *env) error {
	e.admin = true
	return withMesh(c, e, false, func(m api.Network) error {
		if e.json {
			return writeJSON(e.out, m.Foreign)
		}
		if len(m.Foreign) == 0 {
			e.say("no foreign peer is connected or listed; list one under foreign_peers in [p2p]")
			return nil
		}
		t := newTable(e.out, "PEER", "AGENT", "BY", "LINK", "SINCE")
		for _, f := range m.Foreign {
			by, link, since := "itself", "-", "-"
			if f.Listed {
				by = "configuration"
			}
			switch {
			case f.Connected:
				link = "connected"
			case f.Error != "":
				link = clean(f.Error)
			}
			if f.SinceMs > 0 {
				since = time.UnixMilli(int64(f.SinceMs)).UTC().Format(time.RFC3339)
			}
			t.row(f.ID, orDash(clean(f.Agent)), by, link, since)
		}
		return t.flush()
	})
}

func networkResources(c *cli.Context, e *env) error {
	e.admin = true
	return withMesh(c, e, false, func(m api.Network) error {
		if e.json {
			return writeJSON(e.out, m)
		}
		t := newTable(e.out)
		for _, line := range resourceWords(m) {
			t.row(line[0], line[1])
		}
		return t.flush()
	})
}

// resourceWords says in sentences what the mesh holds and refused.
func resourceWords(m api.Network) [][2]string {
	var out [][2]string
	say := func(what, format string, args ...any) {
		out = append(out, [2]string{what, fmt.Sprintf(format, args...)})
	}
	total := 0
	var kinds []string
	for _, c := range m.Connections {
		total += c.Count
		kinds = append(kinds, fmt.Sprintf("%d %s over %s", c.Count, c.Direction, c.Transport))
	}
	list := ""
	if total > 0 {
		list = ": " + strings.Join(kinds, ", ")
	}
	say("connections", "%d open%s; above %d (max_peers) the least useful are closed", total, list, m.MaxPeers)
	if len(m.Refusals) == 0 && m.Refused == 0 {
		say("limits", "no resource limit has refused anything since the start")
	}
	for _, r := range m.Refusals {
		say("refused", "%s: %s; last %s ago; %s", times(r.Count), refusalWords(r), ago(r.LastMs), refusalNext(r))
	}
	if h := m.Holes; h.Tried > 0 {
		say("holes", "%s in place of a relayed connection a direct one was tried, and made %s", times(h.Tried), times(h.Made))
	}
	g := m.Gate
	switch {
	case m.Private:
		say("gate", "%d handshakes of members went on, %d of outsiders were closed, %d dials to outsiders were not made", g.Passed, g.Outsiders, g.Dials)
		if g.Foreign > 0 {
			say("foreign", "%d handshakes of foreign peers that the configuration lists went on; see: bpi network guests", g.Foreign)
		}
		say("door", "%d invitations were taken, %d refused, %d callers turned away because too many stood there", g.DoorOpened, g.DoorRefused, g.DoorBusy)
		say("put out", "%s because their membership ended", count(int(g.PutOut), "connection"))
	default:
		say("gate", "%d handshakes went on; the network is open", g.Passed)
	}
	if g.Banned > 0 {
		say("banned", "%d handshakes of peers that had sent garbage were closed", g.Banned)
	}
	if len(m.Losses) == 0 {
		say("dropped", "nothing since the start")
	}
	for _, l := range m.Losses {
		say("dropped", "%s: %s", times(l.Count), l.What)
	}
	return out
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func ago(ms uint64) string {
	return max(0, time.Since(time.UnixMilli(int64(ms)))).Round(time.Second).String()
}

// refusalWords says what was refused to whom.
func refusalWords(r api.Refusal) string {
	if ip, ok := strings.CutPrefix(r.Scope, "address "); ok {
		return fmt.Sprintf("a connection from %s, which holds as many as one address may, or opened them too fast", clean(ip))
	}
	kind, who, _ := strings.Cut(r.Scope, ":")
	place := map[string]string{
		"system": "this node as a whole", "transient": "connections whose peer is not known yet", "conn": "one connection", "stream": "one stream",
		"peer": "peer " + who, "protocol": "protocol " + who, "service": "service " + who,
	}[kind]
	if place == "" {
		place = r.Scope
	}
	return fmt.Sprintf("%s of %s", clean(r.Limit), clean(place))
}

// refusalNext says what a person can do about it.
func refusalNext(r api.Refusal) string {
	switch kind, _, _ := strings.Cut(r.Scope, ":"); {
	case strings.HasPrefix(kind, "address "):
		return "if many honest peers live there, name their network under shared_networks in [p2p]; if not, there is nothing to do"
	case kind == "system" || kind == "transient":
		return "raise max_peers in [p2p] if these are peers that you want"
	case strings.Contains(r.Limit, "memory"):
		return "the machine is short of memory, or somebody sends more than is read"
	}
	return "a peer that asks for too much is held back; there is nothing to do unless it is your own"
}

func networkDoctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "find out who reaches this node, and why not: ports, NAT, peers, clock, membership",
		Description: "It asks the local node, which asks up to three peers to dial it back. Exit code 1 if something keeps it apart.",
		Action:      action(networkDoctor),
	}
}

func networkDoctor(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	cfg, list := doctorConfig(c, e)
	err := e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list = append(list, askMesh(ctx, n)...)
		return nil
	})
	if err != nil {
		list = append(list, finding{"node", "FAILED", err.Error(), "start one with: bpi node start"})
		list = append(list, checkPorts(cfg)...)
	}
	list = append(list, checkClock())
	return tell(e, list)
}

// askMesh is what a running node finds out.
func askMesh(ctx context.Context, n *conn) []finding {
	s, err := n.Status(ctx)
	if err != nil {
		return []finding{{"node", "FAILED", n.explain(err).Error(), "start one with: bpi node start"}}
	}
	m, err := n.Network(ctx, true)
	if err != nil {
		return []finding{{"node", "FAILED", n.explain(err).Error(), "run this on the node's machine"}}
	}
	return meshFindings(s, m, time.Now())
}

// meshFindings are the doctor's lines.
func meshFindings(s api.Status, m api.Network, now time.Time) []finding {
	var list []finding
	add := func(check, status, detail, next string) { list = append(list, finding{check, status, detail, next}) }
	kind := "open"
	if m.Private {
		kind = "private, " + count(len(m.Members), "member")
	}
	if m.Sealed {
		kind += ", sealed by a swarm key"
	}
	add("network", "ok", m.Name+", "+kind, "")
	if m.InvitationEnds > 0 {
		end := time.UnixMilli(int64(m.InvitationEnds))
		switch left := end.Sub(now); {
		case left <= 0:
			add("invitation", "warning", "ended on "+end.UTC().Format(time.RFC3339), "members let this peer in only if the chain names it; ask for a new one, and give it to this peer with: bpi network join")
		case left < 6*time.Hour:
			add("invitation", "warning", "ends in "+left.Round(time.Minute).String(), "ask for a new one, and give it to this peer with: bpi network join")
		default:
			add("invitation", "ok", "good until "+end.UTC().Format(time.RFC3339), "")
		}
	}
	for _, a := range m.Addresses {
		add("address", "ok", a, "")
	}
	if len(m.Addresses) == 0 {
		add("address", "FAILED", "the node listens nowhere", "see listen_addresses and listen_port in [p2p]")
	}
	for _, b := range m.Bootstrap {
		switch {
		case b.Connected:
			add("bootstrap", "ok", b.Address+" is connected", "")
		case strings.Contains(b.Error, p2p.ErrNotAdmitted.Error()):
			add("bootstrap", "FAILED", b.Address+": "+clean(b.Error), "ask for a new invitation, and give it to this peer with: bpi network join")
		case b.Error != "":
			add("bootstrap", "warning", b.Address+" "+clean(b.Error), "is that peer running, and its address right? See bootstrap in [p2p]")
		default:
			add("bootstrap", "warning", b.Address+" is not connected", "is that peer running, and its address right? See bootstrap in [p2p]")
		}
	}
	switch {
	case s.Peers == 0 && len(m.Bootstrap) > 0:
		add("peers", "FAILED", "none connected, and none of those to join by answers", "name another peer of the network under bootstrap in [p2p], as bpi node status prints its address there, and restart this node")
	case s.Peers == 0:
		add("peers", "warning", "none connected", "name one under bootstrap in [p2p], unless this network has one peer")
	default:
		add("peers", "ok", fmt.Sprintf("%d connected", s.Peers), "")
	}
	list = append(list, reachFindings(m)...)
	for _, x := range m.NAT {
		add("NAT, "+x.Transport, "ok", x.Kind, "")
	}
	if len(m.Refusals) > 0 {
		add("resource limits", "warning", fmt.Sprintf("refused %s since the start", times(m.Refused)), "see: bpi network resources")
	}
	drift := finding{"clock against peers", "ok", fmt.Sprintf("%+d ms", s.DriftMs), ""}
	if s.DriftMs > 250 || s.DriftMs < -250 {
		drift.Status, drift.Next = "FAILED", "synchronise the clock: invitations begin and end by it, and validators refuse blocks from the future"
	}
	return append(list, drift)
}

// reachFindings say which ports peers reached.
func reachFindings(m api.Network) []finding {
	var list []finding
	reached := false
	for _, a := range m.Reach.Asked {
		if a.Error != "" {
			list = append(list, finding{"reached from", "warning", a.ID + " did not say: " + clean(a.Error), ""})
			continue
		}
		for _, p := range a.Ports {
			f := finding{"reached from", "ok", fmt.Sprintf("%s, at %s port %d/tcp", a.ID, clean(a.Observed), p.Port), ""}
			if !p.OK {
				f.Status = "warning"
				f.Detail = fmt.Sprintf("%s: not at %s port %d/tcp, which %s", a.ID, clean(a.Observed), p.Port, clean(p.Error))
				f.Next = "open the port in the firewall, or forward it in the router"
			}
			reached = reached || p.OK
			list = append(list, f)
		}
	}
	relays := relaysOf(m.Addresses)
	switch {
	case len(m.Reach.Asked) == 0:
		list = append(list, finding{"reached from", "warning", "no peer is connected that could dial back", ""})
	case !reached && len(relays) > 0:
		list = append(list, finding{"reached", "ok", "not directly, but through the relay of " + strings.Join(relays, " and of "), ""})
	case !reached:
		list = append(list, finding{"reached", "warning", "no peer that was asked reached this node", "others cannot dial it; it can dial them, and a member with relay_service = true lets it be reached"})
	}
	return append(list, natFindings(m, reached)...)
}

// natFindings say at which addresses peers see this node that are none of its machine's.
func natFindings(m api.Network, reached bool) []finding {
	var at []string
	for _, a := range m.Reach.Asked {
		if ip := clean(a.Observed); a.NAT && !slices.Contains(at, ip) {
			at = append(at, ip)
		}
	}
	if len(at) == 0 {
		return nil
	}
	f := finding{"NAT", "ok", "peers see this node at " + strings.Join(at, " and at ") + ", which is no address of this machine: a router translates addresses between", ""}
	if !reached {
		f.Next = "to be dialed from outside, forward listen_port in that router, TCP and UDP; if many peers live behind it, those outside name its address under shared_networks in [p2p]"
	}
	return []finding{f}
}

// relaysOf are the ids of the peers through whose relays a node is reached.
func relaysOf(addresses []string) []string {
	var ids []string
	for _, a := range addresses {
		before, _, relayed := strings.Cut(a, "/p2p-circuit")
		_, id, named := strings.Cut(before, "/p2p/")
		if relayed && named && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
