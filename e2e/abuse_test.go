package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libpeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// TestCommandsThatAreRefused sends what no honest client sends.
func TestCommandsThatAreRefused(t *testing.T) {
	n := up(t, 4)
	n.users()
	c := n.client(n.peers[0])
	raw, err := c.Genesis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var g consensus.Genesis
	if err := canon.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	key := sign.FromSeed(bytes.Repeat([]byte{9}, 32))
	now := uint64(time.Now().UnixMilli())
	body := func(nonce byte) enc.CommandBody {
		return enc.CommandBody{
			ChainID: g.ChainID(), ExpiresMs: now + 60_000, Nonce: [16]byte{nonce}, Kind: enc.KindCancelJob,
			Payload: canon.Must(&enc.CancelJob{Job: digest.Of([]byte("nobody's job"))}),
		}
	}
	refused := func(word string, tx []byte) {
		t.Helper()
		if _, err := c.SubmitCommand(t.Context(), tx); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("got %v; want a refusal that says %q", err, word)
		}
	}
	signed := func(b enc.CommandBody) []byte { cmd := b.Sign(key); return cmd.Encode() }

	refused("malformed", []byte("garbage"))
	refused("malformed", signed(body(1))[:50])
	unsigned := enc.Command{Body: body(2), Signer: key.Public()}
	refused("signature", unsigned.Encode())
	forged := body(3).Sign(key)
	forged.Body.Nonce[1] = 1
	refused("signature", forged.Encode())
	expired := body(4)
	expired.ExpiresMs = now - 60_000
	refused("expire", signed(expired))
	distant := body(5)
	distant.ExpiresMs = now + 10*enc.MaxExpiryMs
	refused("expire", signed(distant))
	foreign := body(6)
	foreign.ChainID = digest.Of([]byte("another chain"))
	refused("chain", signed(foreign))
	refused("limit", make([]byte, enc.MaxCommandBytes+1))

	once := body(7).Sign(key)
	if _, err := c.SubmitCommand(t.Context(), once.Encode()); err != nil {
		t.Fatal(err)
	}
	first, err := c.WaitCommand(t.Context(), once.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.peers { // again, to each: refused or ordered once all the same
		_, _ = n.client(p).SubmitCommand(t.Context(), once.Encode())
	}
	n.must("analytics", "submit", "--fresh", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
	again, err := c.CommandStatus(t.Context(), once.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", first), fmt.Sprintf("%+v", again); a != b {
		t.Errorf("a replayed command changed what became of it:\n%s\n%s", a, b)
	}
}

// cancelling gives commands of the chain that c talks to, of a new client: to cancel a job that is nobody's.
func cancelling(t testing.TB, c *api.Client) func(nonce uint64) []byte {
	t.Helper()
	raw, err := c.Genesis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var g consensus.Genesis
	if err := canon.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(nonce uint64) []byte {
		cmd := enc.CommandBody{
			ChainID: g.ChainID(), ExpiresMs: uint64(time.Now().Add(time.Minute).UnixMilli()), Nonce: [16]byte(binary.BigEndian.AppendUint64(make([]byte, 8), nonce)),
			Kind: enc.KindCancelJob, Payload: canon.Must(&enc.CancelJob{Job: digest.Of([]byte("nobody's job"))}),
		}.Sign(key)
		return cmd.Encode()
	}
}

// TestGarbageOnEveryStreamAndTopic joins with a raw host that speaks nonsense on all that a peer offers.
func TestGarbageOnEveryStreamAndTopic(t *testing.T) {
	n := up(t, 4)
	n.users()
	victim, err := libpeer.AddrInfoFromString(n.peers[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	speaks := ""
	eventually(t, 10*time.Second, "told which network it is", func() bool {
		h := rawHost(t, "")
		_ = h.Connect(t.Context(), *victim)
		v, err := h.Peerstore().Get(victim.ID, "ProtocolVersion")
		if err == nil {
			speaks, _ = v.(string)
		}
		return speaks != ""
	})
	h := rawHost(t, speaks)
	if err := h.Connect(t.Context(), *victim); err != nil {
		t.Fatal(err)
	}
	var protos []protocol.ID
	eventually(t, 10*time.Second, "told what the peer speaks", func() bool {
		protos, _ = h.Peerstore().GetProtocols(victim.ID)
		return len(protos) > 5
	})
	garbage := [][]byte{
		{}, {0}, bytes.Repeat([]byte{0xff}, 64), []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0x9f}, 4096),
		append(binary.AppendUvarint(nil, 1<<40), bytes.Repeat([]byte("a"), 1000)...), bytes.Repeat([]byte{0x80}, 1<<20),
	}
	for _, id := range protos {
		h := rawHost(t, speaks) // what one host did wrong is held against it
		if err := h.Connect(t.Context(), *victim); err != nil {
			t.Fatal(err)
		}
		heard := 0
		for _, g := range garbage {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if s, err := h.NewStream(network.WithNoDial(ctx, "shown the door"), victim.ID, id); err == nil {
				_ = s.SetDeadline(time.Now().Add(2 * time.Second))
				if _, err := s.Write(g); err == nil {
					heard++
				}
				_ = s.CloseWrite()
				_, _ = io.Copy(io.Discard, io.LimitReader(s, 1<<20))
				_ = s.Reset()
			}
			cancel()
		}
		if heard == 0 {
			t.Errorf("%s was never reached", id)
		}
	}
	t.Logf("spoke nonsense on %d protocols", len(protos))
	for _, own := range []string{"/rpc/bpi/blocks/1", "/rpc/bpi/batches/1", "/rpc/bpi/range/1", "/link/bpi/1", "/link/bpi/batch/1", "/link/bpi/tx/1", "/stream/api/1", "/meshsub/", "/kad/", "/ipfs/id/"} {
		if !slices.ContainsFunc(protos, func(id protocol.ID) bool { return strings.Contains(string(id), own) }) {
			t.Errorf("nothing was said on %s; the peer speaks %v", own, protos)
		}
	}
	eventually(t, 5*time.Second, "nonsense on streams scored", func() bool { return n.metric(n.peers[0], "bpci_penalties_total") > 0 })
	eventually(t, 5*time.Second, "a stranger's link refused", func() bool { return n.metric(n.peers[0], "bpci_link_refused_total") > 0 })

	h = rawHost(t, speaks)
	told := make(chan string, 64)
	for _, id := range []protocol.ID{"/meshsub/1.2.0", "/meshsub/1.1.0"} {
		h.SetStreamHandler(id, func(s network.Stream) { readTopics(s, told) })
	}
	if err := h.Connect(t.Context(), *victim); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "told the peer's topics", func() bool { return len(told) > 0 })
	_, name, ok := p2p.ReadMemberVersion(speaks)
	if !ok {
		t.Fatalf("the peer calls itself %q, which is no member of a network", speaks)
	}
	topics := func(kind driver.Kind) string { return "/bpci/" + name + "/" + string(kind) }
	tried := map[string]int{}
	for len(told) > 0 {
		topic := <-told
		if tried[topic] > 0 {
			continue
		}
		h = rawHost(t, speaks) // one that is kept out reaches no further topic
		if err := h.Connect(t.Context(), *victim); err != nil {
			t.Fatal(err)
		}
		for _, g := range garbage {
			if len(h.Network().ConnsToPeer(victim.ID)) == 0 {
				_ = h.Connect(t.Context(), *victim)
			}
			if publish(t, h, victim.ID, topic, g) {
				tried[topic]++
			}
		}
	}
	t.Logf("published nonsense: %v", tried)
	for _, kind := range driver.MessageKinds() {
		if topic := topics(kind); tried[topic] == 0 {
			t.Errorf("topic %s was not reached", topic)
		}
	}
	eventually(t, 10*time.Second, "nonsense on topics rejected", func() bool {
		return n.metric(n.peers[0], "bpci_gossip_rejected_total") >= float64(len(tried))
	})
	// To whoever goes on with it nobody listens any more, once it is scored.
	const flood = 500
	publishAll := func() {
		for i := range flood {
			publish(t, h, victim.ID, topics(driver.KindTx), fmt.Appendf(nil, "nonsense %d", i))
		}
	}
	publishAll()
	// The same processes go on with their work.
	for _, p := range n.peers {
		if gone(p.pid()) {
			t.Fatalf("%s has ended", p.Name)
		}
		out := n.must("--api", "unix://"+p.Socket, "analytics", "submit", "--fresh", "--format", "csv", "--dataset", "users", "--query", "SELECT COUNT(*) AS c FROM users")
		if !strings.Contains(out, "1000") {
			t.Errorf("%s answers %q", p.Name, out)
		}
	}
	before := n.metric(n.peers[0], "bpci_gossip_rejected_total")
	publishAll()
	n.must("--api", "unix://"+n.peers[0].Socket, "analytics", "submit", "--fresh", "--dataset", "users", "--query", "SELECT COUNT(*) AS c FROM users")
	if more := n.metric(n.peers[0], "bpci_gossip_rejected_total") - before; more > flood/5 {
		t.Errorf("of a flood of %d messages %v were still looked at: their sender was not scored", flood, more)
	} else {
		t.Logf("of a flood of %d messages %v were looked at", flood, more)
	}
}

// rawHost is a libp2p host that says it speaks a version and otherwise knows nothing of BPCI.
func rawHost(t *testing.T, speaks string) host.Host {
	t.Helper()
	opts := []libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay()}
	if speaks != "" {
		opts = append(opts, libp2p.ProtocolVersion(speaks))
	}
	h, err := libp2p.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// publish sends one message of a topic, unsigned as the network wants them, on a stream of its own.
func publish(t *testing.T, h host.Host, to libpeer.ID, topic string, data []byte) bool {
	t.Helper()
	raw, err := proto.Marshal(&pb.RPC{Publish: []*pb.Message{{Data: data, Topic: &topic}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.NewStream(t.Context(), to, "/meshsub/1.2.0", "/meshsub/1.1.0")
	if err != nil {
		return false
	}
	_, err = s.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...))
	_ = s.Close()
	return err == nil
}

// readTopics passes on the topics that a peer says it has subscribed to.
func readTopics(s network.Stream, topics chan<- string) {
	defer s.Reset()
	r := bufio.NewReader(s)
	for {
		size, err := binary.ReadUvarint(r)
		if err != nil || size > 1<<20 {
			return
		}
		raw := make([]byte, size)
		if _, err := io.ReadFull(r, raw); err != nil {
			return
		}
		var rpc pb.RPC
		if proto.Unmarshal(raw, &rpc) != nil {
			return
		}
		for _, sub := range rpc.Subscriptions {
			select {
			case topics <- sub.GetTopicid():
			default:
			}
		}
	}
}
