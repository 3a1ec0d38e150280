package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

func testServices(t *testing.T, p *Host, cfg ServicesConfig) *Services {
	t.Helper()
	s, err := p.Services(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func offer(service string, labels ...string) registry.Offer {
	return registry.Offer{Service: service, Version: registry.Version{Major: 1}, Capacity: 4, Labels: labels}
}

// offerEcho serves and announces a service that says who answers.
func offerEcho(t *testing.T, s *Services, service string) {
	t.Helper()
	err := s.Serve(service, 1, Limits{}, func(_ context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
		return append([]byte(s.p.ID().String()+" "), req...), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Announce([]registry.Offer{offer(service)}); err != nil {
		t.Fatal(err)
	}
}

// counted is a metric's value; outcome is its label, or "".
func counted(t *testing.T, reg *prometheus.Registry, name, outcome string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (outcome == "" || m.GetLabel()[0].GetValue() == outcome) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s of %q", name, outcome)
	return 0
}

func TestServiceIsHeardOfSentToAndTakenBack(t *testing.T) {
	reg := prometheus.NewRegistry()
	a, hub, b := testHost(t, func(c *Config) { c.Registerer = reg }), testHost(t, nil), testHost(t, nil)
	sa, sb := testServices(t, a, ServicesConfig{}), testServices(t, b, ServicesConfig{})
	testServices(t, hub, ServicesConfig{})
	connect(t, a, hub)
	connect(t, b, hub)
	offerEcho(t, sb, "echo")
	eventually(t, "the offer is heard of through the hub", func() bool { return len(sa.known("echo", 1)) == 1 })
	r, err := sa.Send(t.Context(), "echo", 1, []byte("hello"), SendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := b.ID().String() + " hello"; string(r.Answer) != want || r.From != b.Self() || len(r.Tried) != 0 {
		t.Errorf("answer %q from %s after %v, want %q", r.Answer, r.From.Short(), r.Tried, want)
	}
	// A change is heard of too, and what is the same is not told again.
	seq := sa.known("echo", 1)[0].Seq
	if err := sb.Announce([]registry.Offer{offer("echo")}); err != nil {
		t.Fatal(err)
	}
	if err := sb.Announce([]registry.Offer{offer("echo", "colour=red")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is heard of", func() bool {
		l := sa.known("echo", 1)
		return len(l) == 1 && l[0].Seq > seq && slices.Equal(l[0].Offer.Labels, []string{"colour=red"})
	})
	if n := counted(t, reg, "bpci_service_messages_total", "answered") + counted(t, reg, "bpci_service_offers", ""); n != 2 {
		t.Errorf("one message answered and one offer in force are counted as %g", n)
	}
	if counted(t, reg, "bpci_service_descriptions_total", "news") < 1 {
		t.Error("the descriptions heard are not counted")
	}
	if err := sb.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the offer is taken back", func() bool { return len(sa.List()) == 0 })
	_, err = sa.Send(t.Context(), "echo", 1, nil, SendOptions{})
	if !errors.Is(err, ErrNoService) || !strings.Contains(err.Error(), "echo/1") || !strings.Contains(err.Error(), "bpi network services") {
		t.Errorf("sending to what nobody offers: %v", err)
	}
}

func TestSendGoesOnToTheNextAndSaysWhomItTried(t *testing.T) {
	hub := testHost(t, nil)
	client := testServices(t, hub, ServicesConfig{})
	var tell []func() ([]byte, error)
	var hosts []*Host
	for i := range 3 {
		h := testHost(t, nil)
		s := testServices(t, h, ServicesConfig{})
		connect(t, h, hub)
		tell = append(tell, nil)
		err := s.Serve("work", 1, Limits{}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return tell[i]() })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Announce([]registry.Offer{offer("work")}); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	eventually(t, "all three are known", func() bool { return len(client.known("work", 1)) == 3 })

	busy := func() ([]byte, error) { return nil, &RemoteError{CodeBusy, "full"} }
	absent := func() ([]byte, error) { return nil, &RemoteError{CodeNotFound, "not here"} }
	tell[0], tell[1], tell[2] = busy, absent, func() ([]byte, error) { return []byte("done"), nil }
	for range 4 { // whatever the order is
		r, err := client.Send(t.Context(), "work", 1, nil, SendOptions{})
		if err != nil || string(r.Answer) != "done" || r.From != hosts[2].Self() {
			t.Fatalf("%q from %s, %v", r.Answer, r.From.Short(), err)
		}
		for _, tried := range r.Tried {
			if tried.Peer == hosts[2].Self() || tried.Err == nil {
				t.Errorf("tried %v", tried)
			}
		}
	}
	// An answer that the caller does not take counts as none.
	_, err := client.Send(t.Context(), "work", 1, nil, SendOptions{Accept: func(sign.PublicKey, []byte) error { return errors.New("of yesterday") }})
	if err == nil || hub.gate.score(hosts[2].ID()) != 0 {
		t.Errorf("an answer of yesterday: %v, and a score of %g", err, hub.gate.score(hosts[2].ID()))
	}
	r, err := client.Send(t.Context(), "work", 1, nil, SendOptions{Accept: func(sign.PublicKey, []byte) error { return ErrNonsense }})
	var all *SendError
	if !errors.As(err, &all) || len(all.Tried) != 3 || len(r.Tried) != 3 {
		t.Fatalf("three that fail: %v", err)
	}
	for _, h := range hosts {
		if !strings.Contains(err.Error(), h.ID().String()) {
			t.Errorf("the error does not name %s: %v", h.ID(), err)
		}
	}
	if hub.gate.score(hosts[2].ID()) < penaltyLie/2 {
		t.Error("an answer that is none is not scored")
	}
	// A refusal in words is an answer.
	refuse := func() ([]byte, error) { return nil, errors.New("no such thing") }
	tell[0], tell[1], tell[2] = refuse, refuse, refuse
	r, err = client.Send(t.Context(), "work", 1, nil, SendOptions{})
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Code != CodeRefused || len(r.Tried) != 0 {
		t.Errorf("a refusal: %v after %d", err, len(r.Tried))
	}
	// One that is gone does not stand in the way, and one that hangs costs its time alone.
	hang := make(chan struct{})
	defer close(hang)
	tell[1] = func() ([]byte, error) { <-hang; return nil, nil }
	tell[2] = func() ([]byte, error) { return []byte("late"), nil }
	hosts[0].Close()
	r, err = client.Send(t.Context(), "work", 1, nil, SendOptions{TryTime: 300 * time.Millisecond})
	if err != nil || string(r.Answer) != "late" {
		t.Fatalf("%q, %v", r.Answer, err)
	}
	r, err = client.Send(t.Context(), "work", 1, nil, SendOptions{TryTime: 300 * time.Millisecond, Skip: []sign.PublicKey{hosts[2].Self()}})
	if !errors.As(err, &all) || len(all.Tried) != 2 {
		t.Errorf("one gone and one that hangs: %q, %v", r.Answer, err)
	}
}

func TestOwnServiceIsTriedFirstAndBounded(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	sa, sb := testServices(t, a, ServicesConfig{}), testServices(t, b, ServicesConfig{})
	connect(t, a, b)
	for _, s := range []*Services{sa, sb} {
		err := s.Serve("echo", 1, Limits{RequestBytes: 8}, func(_ context.Context, from sign.PublicKey, req []byte) ([]byte, error) {
			return append([]byte(from.Short()), req...), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Announce([]registry.Offer{offer("echo")}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are known", func() bool { return len(sa.known("echo", 1)) == 2 })
	r, err := sa.Send(t.Context(), "echo", 1, []byte("x"), SendOptions{})
	if err != nil || r.From != a.Self() || string(r.Answer) != a.Self().Short()+"x" {
		t.Errorf("%q from %s, %v", r.Answer, r.From.Short(), err)
	}
	var remote *RemoteError
	if _, err := sa.Send(t.Context(), "echo", 1, make([]byte, 9), SendOptions{}); !errors.As(err, &remote) || remote.Code != CodeTooLarge {
		t.Errorf("9 bytes where 8 are allowed: %v", err)
	}
	if err := sa.Serve("echo", 1, Limits{}, nil); err == nil {
		t.Error("one service was served twice")
	}
	if err := sa.Serve("No Name", 1, Limits{}, nil); err == nil {
		t.Error("a service without a name was served")
	}
	if err := sa.Announce([]registry.Offer{offer("other")}); err == nil {
		t.Error("announced what nothing serves")
	}
	client := testHost(t, func(c *Config) { c.Client = true })
	if _, err := client.Services(ServicesConfig{}); err == nil {
		t.Error("a client host takes part in the registry")
	}
}

// TestColdStartByDHTAlone has a provider and a searcher that only share a peer that takes no part in the registry: there
// is no gossip between them and no table to pull.
func TestColdStartByDHTAlone(t *testing.T) {
	hub, provider := testHost(t, nil), testHost(t, nil)
	sp := testServices(t, provider, ServicesConfig{})
	connect(t, provider, hub)
	offerEcho(t, sp, "echo")
	key := registry.Key("testnet-1", "echo", 1)
	eventually(t, "the hub holds the record and the value", func() bool {
		list, err := hub.dht.FindProviders(t.Context(), key)
		if err != nil || len(list) == 0 {
			return false
		}
		_, err = hub.dht.GetValue(t.Context(), registry.ValueKey(provider.ID()))
		return err == nil
	})
	for name, way := range map[string]func(*Services){
		"records of the service":       func(s *Services) { s.askRecords(t.Context(), "echo", 1) },
		"descriptions of members":      func(s *Services) { s.askMembers(t.Context()) },
		"all that a search does":       func(s *Services) { _, _ = s.Find(t.Context(), "echo", 1) },
		"sending, which searches too ": func(s *Services) { _, _ = s.Send(t.Context(), "echo", 1, nil, SendOptions{}) },
	} {
		c := testHost(t, nil)
		s := testServices(t, c, ServicesConfig{Members: func() []sign.PublicKey { return []sign.PublicKey{provider.Self(), hub.Self()} }})
		connect(t, c, hub)
		eventually(t, "the hub is in the routing table", func() bool { return c.dht.RoutingTable().Find(hub.ID()) != "" })
		way(s)
		if got := s.known("echo", 1); len(got) != 1 || got[0].Peer != provider.Self() {
			t.Errorf("by %s: found %v", name, got)
		}
	}
	// And what the chain does not know is not found, whatever the DHT says.
	c := testHost(t, nil)
	s := testServices(t, c, ServicesConfig{Known: func(k sign.PublicKey) bool { return k == c.Self() || k == hub.Self() }})
	connect(t, c, hub)
	if got, err := s.Find(t.Context(), "echo", 1); err != nil || len(got) != 0 {
		t.Errorf("a provider that the chain does not know was found: %v, %v", got, err)
	}
	other := testHost(t, nil)
	so := testServices(t, other, ServicesConfig{Admits: func(_ sign.PublicKey, o registry.Offer) bool { return o.Service != "echo" }})
	connect(t, other, hub)
	if got, err := so.Find(t.Context(), "echo", 1); err != nil || len(got) != 0 {
		t.Errorf("a provider that the chain does not agree with was found: %v, %v", got, err)
	}
}

// TestTableIsPulledOnJoining: a peer that joins knows at once what was said before, though gossip says it once a minute.
func TestTableIsPulledOnJoining(t *testing.T) {
	hub := testHost(t, nil)
	sh := testServices(t, hub, ServicesConfig{})
	var far []*Host
	for i := range 3 {
		h := testHost(t, nil)
		s := testServices(t, h, ServicesConfig{})
		connect(t, h, hub)
		offerEcho(t, s, fmt.Sprintf("s%d", i))
		far = append(far, h)
	}
	eventually(t, "the hub knows all", func() bool { return len(sh.List()) == 3 })
	for _, h := range far {
		h.Close() // what they said stays in force, and only the hub can tell it
	}
	late := testHost(t, nil)
	sl := testServices(t, late, ServicesConfig{})
	connect(t, late, hub)
	eventually(t, "the late one knows all", func() bool { return len(sl.List()) == 3 })
}

func TestPageRequestsHaveOneForm(t *testing.T) {
	p := testHost(t, nil)
	s := testServices(t, p, ServicesConfig{})
	for _, req := range [][]byte{{askPage}, {2}, make([]byte, 33), bytes.Repeat([]byte{askPage}, 34)} {
		if _, err := s.describe(t.Context(), p.Self(), req); err == nil {
			t.Errorf("request %x was answered", req)
		}
	}
	var remote *RemoteError
	if _, err := s.describe(t.Context(), p.Self(), nil); !errors.As(err, &remote) || remote.Code != CodeNotFound {
		t.Errorf("a peer without offers describes itself: %v", err)
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte{0x80})
	f.Add([]byte{0x82, 0x41, 1, 0x40})
	f.Add(make([]byte, 33))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if page, err := parsePage(raw); err == nil && len(page) > pageDescriptions {
			t.Fatalf("%d descriptions", len(page))
		}
		if after, err := parsePageRequest(raw); err == nil && !bytes.Equal(raw[1:], after[:]) {
			t.Fatalf("%x was read as %x", raw, after)
		}
	})
}
