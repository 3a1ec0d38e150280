package p2p

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

// described is a description as its peer would sign it, changed.
func described(t *testing.T, key sign.PrivateKey, change func(*registry.Description)) []byte {
	t.Helper()
	d := registry.Description{
		Network: "testnet-1", Seq: uint64(time.Now().UnixMilli()), ExpiresMs: uint64(time.Now().Add(time.Minute).UnixMilli()),
		Offers: []registry.Offer{offer("echo")},
	}
	if change != nil {
		change(&d)
	}
	s, err := registry.Seal(key, d)
	if err != nil {
		t.Fatal(err)
	}
	return s.Raw
}

func newPrivate(t *testing.T) sign.PrivateKey {
	t.Helper()
	k, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestBadDescriptionsByGossipAreRefusedAndScored has one attacker for each way to lie, and an honest provider beside it.
func TestBadDescriptionsByGossipAreRefusedAndScored(t *testing.T) {
	for name, attack := range map[string]struct {
		times int
		make  func(t *testing.T, i int, attacker, honest sign.PrivateKey) []byte
	}{
		"garbage": {1, func(t *testing.T, i int, _, _ sign.PrivateKey) []byte { return fmt.Appendf(nil, "garbage %d", i) }},
		"one megabyte": {1, func(t *testing.T, _ int, _, _ sign.PrivateKey) []byte {
			return make([]byte, 1<<20)
		}},
		"another network": {1, func(t *testing.T, i int, k, _ sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.Network, d.Seq = "testnet-2", uint64(i+1) })
		}},
		"signed by another key": {1, func(t *testing.T, i int, k, honest sign.PrivateKey) []byte {
			// The attacker's envelope around the honest peer's payload: the key inside it is another's.
			return bytes.ReplaceAll(described(t, k, nil), pub(k), pub(honest))
		}},
		// These an honest peer may pass on now and then: it takes a habit to be scored.
		"expired": {uselessBurst + 3*uselessPerPeer + 5, func(t *testing.T, i int, k, _ sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.Seq, d.ExpiresMs = uint64(i+1), uint64(time.Now().UnixMilli())-1 })
		}},
		"of strangers": {uselessBurst + 3*uselessPerPeer + 5, func(t *testing.T, i int, _, _ sign.PrivateKey) []byte {
			return described(t, newPrivate(t), nil)
		}},
		"replayed": {uselessBurst + 3*uselessPerPeer + 5, func(t *testing.T, i int, _, honest sign.PrivateKey) []byte {
			return described(t, honest, func(d *registry.Description) { d.Seq = uint64(i + 1) })
		}},
		"without pause": {authorBurst + 5, func(t *testing.T, i int, k, _ sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.Seq += uint64(i) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attackerKey, honestKey := newPrivate(t), newPrivate(t)
			victim := testHost(t, nil)
			honest := testHost(t, func(c *Config) { c.Key = honestKey })
			attacker := testHost(t, func(c *Config) { c.Key = attackerKey })
			known := func(k sign.PublicKey) bool {
				return k == attackerKey.Public() || k == honestKey.Public() || k == victim.Self()
			}
			s := testServices(t, victim, ServicesConfig{Known: known})
			sh := testServices(t, honest, ServicesConfig{Known: known})
			connect(t, honest, victim)
			offerEcho(t, sh, "echo")
			eventually(t, "the honest one is known", func() bool { return len(s.known("echo", 1)) == 1 })
			seq := s.table.Get(honest.Self()).Seq

			topic, err := attacker.Join(servicesTopic, accept, MaxBytes(MaxFrame))
			if err != nil {
				t.Fatal(err)
			}
			if err := topic.Subscribe(func(sign.PublicKey, []byte) {}); err != nil {
				t.Fatal(err)
			}
			connect(t, attacker, victim)
			eventually(t, "the topic is known", func() bool { return topic.Peers() >= 1 })
			for i := range attack.times {
				if err := topic.Publish(t.Context(), attack.make(t, i, attackerKey, honestKey)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the attacker is scored", func() bool { return victim.gate.score(attacker.ID()) > 0 })
			if victim.gate.score(honest.ID()) != 0 {
				t.Error("the honest peer is scored")
			}
			if got := s.table.Get(honest.Self()); got == nil || got.Seq < seq {
				t.Errorf("the honest description is gone or older: %v", got)
			}
			r, err := s.Send(t.Context(), "echo", 1, []byte("x"), SendOptions{Skip: []sign.PublicKey{attacker.Self()}})
			if err != nil || r.From != honest.Self() {
				t.Errorf("the honest answer: %q from %s, %v", r.Answer, r.From.Short(), err)
			}
		})
	}
}

func pub(k sign.PrivateKey) []byte {
	p := k.Public()
	return p[:]
}

// TestBadDescriptionsOfAProviderAreRefusedAndScored is of what a peer says of itself when it is asked.
func TestBadDescriptionsOfAProviderAreRefusedAndScored(t *testing.T) {
	other := newPrivate(t)
	for name, answer := range map[string]func(t *testing.T, k sign.PrivateKey) []byte{
		"garbage":      func(*testing.T, sign.PrivateKey) []byte { return []byte("garbage") },
		"nothing":      func(*testing.T, sign.PrivateKey) []byte { return nil },
		"one megabyte": func(*testing.T, sign.PrivateKey) []byte { return make([]byte, 1<<20) },
		"another's":    func(t *testing.T, _ sign.PrivateKey) []byte { return described(t, other, nil) },
		"expired": func(t *testing.T, k sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.ExpiresMs = 1 })
		},
		"for ever": func(t *testing.T, k sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.ExpiresMs = 1 << 62 })
		},
		"another network": func(t *testing.T, k sign.PrivateKey) []byte {
			return described(t, k, func(d *registry.Description) { d.Network = "testnet-2" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newPrivate(t)
			victim, attacker := testHost(t, nil), testHost(t, func(c *Config) { c.Key = k })
			s := testServices(t, victim, ServicesConfig{})
			attacker.Handle(describeProto, Limits{}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return answer(t, k), nil })
			connect(t, victim, attacker)
			if d, err := s.ask(t.Context(), attacker.Self()); err == nil {
				t.Errorf("taken: %v", d)
			}
			if victim.gate.score(attacker.ID()) == 0 {
				t.Error("not scored")
			}
			if len(s.List()) != 0 {
				t.Errorf("in the table: %v", s.List())
			}
		})
	}
}

// TestBadPagesAreRefusedAndScored is of a peer whose table is pulled.
func TestBadPagesAreRefusedAndScored(t *testing.T) {
	one := described(t, newPrivate(t), nil)
	two := described(t, newPrivate(t), nil)
	for name, page := range map[string]any{
		"no page":           "page",
		"a bad description": [][]byte{one[:len(one)-1]},
		"the same again":    [][]byte{one, one},
		"out of order":      [][]byte{one, two, one},
		"too many":          make([][]byte, pageDescriptions+1),
		"too large":         [][]byte{make([]byte, 2*maxPageBytes)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			victim, attacker := testHost(t, nil), testHost(t, nil)
			s := testServices(t, victim, ServicesConfig{})
			attacker.Handle(describeProto, Limits{}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return canon.Marshal(page) })
			connect(t, victim, attacker)
			if _, err := s.pull(t.Context(), attacker.Self()); err == nil {
				t.Error("taken")
			}
			if victim.gate.score(attacker.ID()) == 0 {
				t.Error("not scored")
			}
		})
	}
}

// TestLyingProviderIsPassedOver offers a service, signed and in force, and does not speak it.
func TestLyingProviderIsPassedOver(t *testing.T) {
	client, liar, honest := testHost(t, nil), testHost(t, nil), testHost(t, nil)
	s, sl, sh := testServices(t, client, ServicesConfig{}), testServices(t, liar, ServicesConfig{}), testServices(t, honest, ServicesConfig{})
	connect(t, liar, client)
	connect(t, honest, client)
	offerEcho(t, sl, "echo")
	offerEcho(t, sh, "echo")
	liar.h.RemoveStreamHandler(liar.proto("rpc/svc/echo/1"))
	eventually(t, "both are known", func() bool { return len(s.known("echo", 1)) == 2 })
	tried := false
	for range 64 { // the order is drawn; once tried, the liar comes last
		r, err := s.Send(t.Context(), "echo", 1, nil, SendOptions{})
		if err != nil || r.From != honest.Self() {
			t.Fatalf("from %s, %v", r.From.Short(), err)
		}
		if tried = tried || len(r.Tried) > 0; tried {
			break
		}
	}
	if !tried {
		t.Fatal("the liar was never tried")
	}
	if client.gate.score(liar.ID()) == 0 {
		t.Error("the liar is not scored")
	}
}

// TestDHTTakesNoOneElsesValue is of a member that writes into the DHT under another's key.
func TestDHTTakesNoOneElsesValue(t *testing.T) {
	k := newPrivate(t)
	victim, attacker := testHost(t, nil), testHost(t, func(c *Config) { c.Key = k })
	connect(t, attacker, victim)
	eventually(t, "the attacker can write", func() bool {
		return attacker.dht.PutValue(t.Context(), registry.ValueKey(attacker.ID()), described(t, k, nil)) == nil
	})
	for name, value := range map[string][]byte{
		"the attacker's own": described(t, k, nil),
		"an expired one":     described(t, k, func(d *registry.Description) { d.ExpiresMs = 1 }),
	} {
		if err := attacker.dht.PutValue(t.Context(), registry.ValueKey(victim.ID()), value); err == nil {
			t.Errorf("%s was put under another's key", name)
		}
	}
	// Its own DHT node would not send that. One without rules does, and the victim's store says no.
	key := registry.ValueKey(victim.ID())
	for name, value := range map[string][]byte{"another's": described(t, k, nil), "garbage": []byte("garbage"), "one megabyte": make([]byte, 1<<20)} {
		m := pb.NewMessage(pb.Message_PUT_VALUE, []byte(key), 0)
		m.Record = record.MakePutRecord(key, value)
		if _, err := rawDHT(t, attacker.h, victim.ID(), m); err == nil {
			t.Errorf("%s: the victim's DHT took it", name)
		}
	}
	m := pb.NewMessage(pb.Message_PUT_VALUE, []byte(registry.ValueKey(attacker.ID())), 0)
	m.Record = record.MakePutRecord(registry.ValueKey(attacker.ID()), described(t, k, nil))
	if _, err := rawDHT(t, attacker.h, victim.ID(), m); err != nil {
		t.Errorf("a value under its writer's key, sent the same way: %v", err)
	}
	if _, err := victim.dht.GetValue(t.Context(), key); err == nil {
		t.Error("there is a value under the victim's key")
	}
}

// rawDHT sends one message to a peer's DHT, and returns its answer.
func rawDHT(t *testing.T, h host.Host, to peer.ID, m *pb.Message) (*pb.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, to, "/bpci/testnet-1/kad/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(10 * time.Second))
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)); err != nil {
		return nil, err
	}
	return readDHT(bufio.NewReader(s))
}

func readDHT(r *bufio.Reader) (*pb.Message, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	m := new(pb.Message)
	return m, proto.Unmarshal(raw, m)
}
