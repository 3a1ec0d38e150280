package p2p

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/metanode/metanode/internal/digest"
)

// address is how a host is dialed on loopback.
func address(h host.Host) string { return h.Addrs()[0].String() + "/p2p/" + h.ID().String() }

func infoOf(t *testing.T, p *Host) peer.AddrInfo {
	t.Helper()
	i, err := parseFull(p.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// drops tells when a host loses a peer.
func drops(t *testing.T, h host.Host, id peer.ID) <-chan struct{} {
	t.Helper()
	sub, err := h.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close() })
	out := make(chan struct{})
	go func() {
		for e := range sub.Out() {
			if c, ok := e.(event.EvtPeerConnectednessChanged); ok && c.Peer == id && c.Connectedness == network.NotConnected {
				close(out)
				return
			}
		}
	}()
	return out
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Fatalf("timed out waiting: %s", what)
	}
}

// requests sends well-formed questions to a peer, on a protocol of each kind, and tells which were answered.
func requests(t *testing.T, h host.Host, p *Host) (answered []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ask := func(what string, id protocol.ID, say func(io.Writer) error, hear func(io.Reader) error) {
		s, err := h.NewStream(ctx, p.ID(), id)
		if err != nil {
			return
		}
		defer s.Reset()
		_ = s.SetDeadline(time.Now().Add(5 * time.Second))
		if say(s) == nil && hear(s) == nil {
			answered = append(answered, what)
		}
	}
	ask("a call", p.proto("rpc/"+clockProto), func(w io.Writer) error { return writeFrame(w, nil) }, func(r io.Reader) error {
		_, err := readFrame(r, 64)
		return err
	})
	find := dhtpb.NewMessage(dhtpb.Message_FIND_NODE, []byte(h.ID()), 0)
	ask("the DHT", p.proto("kad/1.0.0"), func(w io.Writer) error {
		_, err := protodelim.MarshalTo(w, find)
		return err
	}, func(r io.Reader) error { return protodelim.UnmarshalFrom(bufio.NewReader(r), new(dhtpb.Message)) })
	ask("a stream", p.proto("stream/test"), func(w io.Writer) error {
		_, err := w.Write([]byte("x"))
		return err
	}, func(r io.Reader) error {
		_, err := io.ReadFull(r, make([]byte, 1))
		return err
	})
	return answered
}

// echoes serves a stream protocol as the API is served.
func echoes(t *testing.T, p *Host) {
	t.Helper()
	l, err := p.Listener("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(c, c, 1)
			c.Close()
		}
	}()
}

// TestListedForeignPeerExchangesBlobsAndNothingElse is the rule on a private network, as it is and sealed.
func TestListedForeignPeerExchangesBlobsAndNothingElse(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(map[bool]string{false: "private", true: "sealed"}[sealed], func(t *testing.T) {
			t.Parallel()
			var opts []libp2p.Option
			seal := nothing
			if sealed {
				k := newSwarmKey(t)
				opts = []libp2p.Option{libp2p.NoTransports, libp2p.PrivateNetwork(k.psk()), libp2p.DefaultPrivateTransports}
				seal = func(c *Config) { c.SwarmKey, c.NoQUIC = k, true }
			}
			theirs, ours := random(1, 2<<20+5), random(2, 2<<20)
			// It says that it is of this network, which on a private one makes nobody a member.
			them := outsider(t, append(opts, libp2p.ProtocolVersion(MemberVersion("testnet-1")))...)
			dag := stock(t, them)
			one, other := seeded(1), seeded(2)
			// It dials us where it is listed by its id, and is dialed where its address stands there.
			entry := map[bool]string{false: them.ID().String(), true: address(them)}[sealed]
			list := func(c *Config) { c.ForeignPeers = []string{entry} }
			us := newSwapperAs(t, all(private(one, other), withKey(one), seal, list), ours)
			member := testHost(t, all(private(one, other), withKey(other), seal))
			connect(t, us.Host, member)

			if !sealed {
				if err := them.Connect(t.Context(), infoOf(t, us.Host)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "it is a guest", func() bool { return us.isGuest(them.ID()) })
			stockReads(t, dag, us, ours)
			if err := us.x.FetchDAG(t.Context(), stockAdds(t, dag, theirs), 10<<20); err != nil {
				t.Fatal(err)
			}
			us.verify(t, theirs)

			echoes(t, us.Host)
			if got := requests(t, them, us.Host); len(got) > 0 {
				t.Errorf("it was answered: %q", got)
			}
			for _, l := range snoop(t, them, infoOf(t, us.Host), us.Network()) {
				switch {
				case strings.HasPrefix(l, "negotiated /ipfs/"), l == "ping answered", l == "protocols", l == "an identify message",
					strings.HasPrefix(l, "AgentVersion"), strings.HasPrefix(l, "ProtocolVersion"), strings.HasPrefix(l, "/ipfs/id/"), strings.HasPrefix(l, "/ipfs/ping/"):
				default:
					t.Errorf("it learnt: %s", l)
				}
			}
			if us.isMember(them.ID()) || us.gate.member(them.ID()) || len(us.Peers()) != 1 || us.dht.RoutingTable().Find(them.ID()) != "" {
				t.Error("it counts as a peer of the network")
			}
			if _, err := us.h.NewStream(t.Context(), them.ID(), us.proto("rpc/"+clockProto)); err == nil || !strings.Contains(err.Error(), errForeign.Error()) {
				t.Errorf("a stream to it: %v", err)
			}
			if o := us.Overview().Foreign; len(o) != 1 || !o[0].Connected || !o[0].Listed || o[0].ID != them.ID().String() {
				t.Errorf("overview %+v", o)
			}
			us.sweep() // what puts out former members leaves it
			if !us.isGuest(them.ID()) || them.Network().Connectedness(us.ID()) != network.Connected {
				t.Error("it was put out")
			}
			// A member that does not list it knows it as an outsider.
			if learnt := snoop(t, outsider(t, append(opts, libp2p.Identity(them.Peerstore().PrivKey(them.ID())))...), infoOf(t, member), us.Network()); len(learnt) > 0 {
				t.Errorf("of a member that does not list it, it learnt %q", learnt)
			}
		})
	}
}

// TestMemberThatIsListedAsForeignLosesWhatMembershipGave puts it out when its invitation ends; it comes back for blobs.
func TestMemberThatIsListedAsForeignLosesWhatMembershipGave(t *testing.T) {
	t.Parallel()
	key := seeded(3)
	a, _ := two(t, func(c *Config) { c.ForeignPeers = []string{PeerID(key.Public()).String()} })
	j := testHost(t, invited(t, key, newTicket(t, 3*time.Second, a)))
	eventually(t, "it is a member", func() bool { return a.isMember(j.ID()) })
	eventually(t, "it is none any more", func() bool { return !a.isMember(j.ID()) && !a.gate.member(j.ID()) })
	eventually(t, "it is back as a guest", func() bool {
		_ = j.h.Connect(t.Context(), infoOf(t, a)) // past the door, where nothing would let it in
		return a.isGuest(j.ID())
	})
	if _, err := j.Call(t.Context(), a.Self(), clockProto, nil); err == nil {
		t.Error("it is answered like a member")
	}
}

// TestUnlistedForeignPeerGetsNoBlockOfAPrivateNetwork asks a member by Bitswap.
func TestUnlistedForeignPeerGetsNoBlockOfAPrivateNetwork(t *testing.T) {
	t.Parallel()
	whole := random(1, 100)
	us, them := newSwapperAs(t, all(private(seeded(1)), withKey(seeded(1))), whole), outsider(t)
	dag := stock(t, them)
	_ = them.Connect(t.Context(), infoOf(t, us.Host)) // the dialer's half of the handshake may end before it is refused
	root, _ := us.store.Find(digest.Of(whole))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if n, err := dag.Get(ctx, root.CID); err == nil {
		t.Errorf("a stranger got %s", n.Cid())
	}
	if s := us.Stats(); s.BlobBytesOut != 0 || s.Gate.Outsiders == 0 || s.Gate.Foreign != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestOpenNetworkKeepsForeignPeersThatExchange has one place for those that nobody listed.
func TestOpenNetworkKeepsForeignPeersThatExchange(t *testing.T) {
	t.Parallel()
	whole := random(1, 3<<20)
	listed, casual, late, mute := outsider(t), outsider(t), outsider(t), outsider(t)
	us := newSwapperAs(t, func(c *Config) { c.ForeignPeers, c.MaxGuests = []string{address(listed)}, 1 }, whole)
	reads := func(h host.Host) {
		t.Helper()
		dag := stock(t, h)
		if err := h.Connect(t.Context(), infoOf(t, us.Host)); err != nil {
			t.Fatal(err)
		}
		stockReads(t, dag, us, whole)
	}
	eventually(t, "the listed one is dialed", func() bool { return us.isGuest(listed.ID()) })
	reads(casual)
	eventually(t, "the first to come has the place", func() bool { return us.isGuest(casual.ID()) })

	// Who finds no place is served for as long as any stranger is, and one that speaks no Bitswap has no use for one.
	gone, muteGone := drops(t, late, us.ID()), drops(t, mute, us.ID())
	reads(late)
	if err := mute.Connect(t.Context(), infoOf(t, us.Host)); err != nil {
		t.Fatal(err)
	}
	await(t, "the second is closed", gone)
	await(t, "the mute one is closed", muteGone)
	for _, h := range []host.Host{listed, casual} {
		if !us.isGuest(h.ID()) || h.Network().Connectedness(us.ID()) != network.Connected {
			t.Error("one that has a place is gone, too")
		}
	}
	if us.isGuest(late.ID()) || us.isGuest(mute.ID()) || us.memberCount() != 0 {
		t.Errorf("more guests than places, or %d members", us.memberCount())
	}
	// What any stranger of an open network is answered, a guest is as well.
	echoes(t, us.Host)
	if got := requests(t, casual, us.Host); len(got) != 3 {
		t.Errorf("a guest of an open network is answered only %q", got)
	}
	// A place is free again when its guest has left.
	if err := casual.Network().ClosePeer(us.ID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has left", func() bool { return !us.isGuest(casual.ID()) })
	reads(late)
	eventually(t, "the second has its place", func() bool { return us.isGuest(late.ID()) })
}

func TestForeignPeerThatExchangesNothingMakesRoom(t *testing.T) {
	t.Parallel()
	listed, idle := outsider(t), outsider(t)
	us := newSwapperAs(t, func(c *Config) { c.ForeignPeers, c.MaxGuests, c.GuestIdle = []string{address(listed)}, 1, time.Second })
	stock(t, idle)
	gone := drops(t, idle, us.ID())
	if err := idle.Connect(t.Context(), infoOf(t, us.Host)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is a guest", func() bool { return us.isGuest(idle.ID()) })
	await(t, "it is closed", gone)
	eventually(t, "the listed one, which exchanges nothing either, stays", func() bool { return us.isGuest(listed.ID()) })
}

// TestPeerOfAnotherNetworkIsNoGuest closes it although it speaks Bitswap.
func TestPeerOfAnotherNetworkIsNoGuest(t *testing.T) {
	t.Parallel()
	us := newSwapperAs(t, func(c *Config) { c.MaxGuests = 8 })
	them := newSwapperAs(t, func(c *Config) { c.Network = "other-1" })
	gone := drops(t, them.h, us.ID())
	if err := them.h.Connect(t.Context(), infoOf(t, us.Host)); err != nil {
		t.Fatal(err)
	}
	await(t, "it is closed", gone)
}

func TestForeignPeersAreNamedWell(t *testing.T) {
	id := outsider(t).ID().String()
	for s, want := range map[string]string{
		id:                               "",
		"/ip4/192.0.2.1/tcp/1/p2p/" + id: "",
		"/p2p/" + id:                     "",
		"12D3":                           "neither a peer id nor a multiaddr",
		"/ip4/192.0.2.1/tcp/1":           "names no peer",
		"/nonsense":                      "not a multiaddr",
	} {
		i, err := ParseForeign(s)
		if want == "" && (err != nil || i.ID.String() != id) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", s, i, err)
		}
	}
	if _, err := New(Config{Key: seeded(1), Network: "n", EnableEncryption: true, ForeignPeers: []string{"x"}}); err == nil {
		t.Error("a host was made with nonsense in its list")
	}
}
