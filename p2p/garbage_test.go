package p2p

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/metanode/metanode/internal/sign"
)

func TestFrameRoundTripAndBounds(t *testing.T) {
	for _, n := range []int{0, 1, frameStep, frameStep + 1, 3*frameStep + 7, MaxFrame} {
		var buf bytes.Buffer
		want := bytes.Repeat([]byte{byte(n)}, n)
		if err := writeFrame(&buf, want); err != nil {
			t.Fatal(err)
		}
		got, err := readFrame(&buf, MaxFrame)
		if err != nil || !bytes.Equal(got, want) || buf.Len() != 0 {
			t.Fatalf("%d bytes: %d back, %v", n, len(got), err)
		}
	}
	if err := writeFrame(io.Discard, make([]byte, MaxFrame+1)); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("write: %v", err)
	}
	if _, err := readFrame(bytes.NewReader([]byte{0, 0, 0, 11}), 10); !errors.Is(err, errFrameTooLarge) {
		t.Errorf("read: %v", err)
	}
	if _, err := readFrame(bytes.NewReader([]byte{0, 0, 0, 3, 1}), 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("torn: %v", err)
	}
	if _, err := readFrame(bytes.NewReader(nil), 10); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
	if n := testing.AllocsPerRun(5, func() { _, _ = readFrame(bytes.NewReader([]byte{0, 0x7f, 0xff, 0xff, 1}), MaxFrame) }); n > 10 {
		t.Errorf("a claim without bytes cost %v allocations", n)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 2}, 10)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, MaxFrame)
	f.Add([]byte{0, 2, 0, 0, 1}, MaxFrame)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = min(max(limit, 0), MaxFrame)
		r := bufio.NewReader(bytes.NewReader(b))
		got, err := readFrame(r, limit)
		if err != nil {
			return
		}
		if len(got) > limit {
			t.Fatalf("%d bytes beyond the bound of %d", len(got), limit)
		}
		var again bytes.Buffer
		if err := writeFrame(&again, got); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
			t.Fatalf("the frame does not survive a round trip: %v", err)
		}
	})
}

// FuzzReadMessage reads what a stranger sends to gossip, the DHT and Bitswap, before those libraries do.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{2, 1, 2}, 10)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, MaxFrame)
	f.Add([]byte{0x80, 0x80, 0x04, 1}, MaxFrame)
	f.Add(bytes.Repeat([]byte{0x80}, 20), MaxFrame)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = min(max(limit, 0), MaxFrame)
		most := 0
		got, err := readMessage(bufio.NewReader(bytes.NewReader(b)), limit, func(n int) error { most = n; return nil })
		if most > limit || most > frameStep && most > frameGrowth*len(b) {
			t.Fatalf("%d bytes of memory for %d that came, with a bound of %d", most, len(b), limit)
		}
		if err == nil && (len(got) > limit || !bytes.Contains(b, got)) {
			t.Fatalf("%d bytes that were not sent, or beyond the bound of %d", len(got), limit)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 1, 2})
	f.Add([]byte{2, 'n', 'o'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := answer("peer", b)
		var remote *RemoteError
		if err == nil && !bytes.Equal(got, b[1:]) {
			t.Fatal("the answer changed")
		}
		if errors.As(err, &remote) && (remote.Code == statusOK || len([]rune(remote.Message)) > maxRemoteMessage) {
			t.Fatalf("remote error %+v", remote)
		}
	})
}

func FuzzPeersFile(f *testing.F) {
	f.Add([]byte(`{"network":"n","peers":[{"id":"12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA","addrs":["/ip4/127.0.0.1/tcp/1"],"seen":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &peersFile{network: "n", peers: map[peer.ID]savedPeer{}}
		s.load(b, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
		for _, i := range s.list() {
			if _, ok := PublicKey(i.ID); !ok || len(i.Addrs) == 0 || len(i.Addrs) > maxSavedAddrs {
				t.Fatalf("kept %v", i)
			}
		}
	})
}

// TestGarbageOnEveryProtocolIsNeverACrash sends random bytes to every protocol the host serves, its own and libp2p's,
// and then asks it for an honest answer.
func TestGarbageOnEveryProtocolIsNeverACrash(t *testing.T) {
	const seed = 20260101
	t.Logf("seed %d", seed)
	victim, enemy, friend := testHost(t, nil), testHost(t, nil), testHost(t, nil)
	connect(t, enemy, victim)
	connect(t, friend, victim)
	victim.Handle("echo", Limits{}, func(_ context.Context, _ sign.PublicKey, req []byte) ([]byte, error) { return req, nil })
	victim.Links("vote", LinkConfig{}, func(sign.PublicKey, []byte) {})
	NewExchange(victim, testStore(t, t.TempDir()))
	topic, err := victim.Join("tx", func(sign.PublicKey, []byte) Verdict { return Reject })
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Subscribe(func(sign.PublicKey, []byte) { t.Error("garbage delivered") }); err != nil {
		t.Fatal(err)
	}
	l, err := victim.Listener("api/1")
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, c, 1<<10)
			_ = c.Close()
		}
	}()
	rnd := rand.NewChaCha8([32]byte{byte(seed & 0xff)})
	protos := victim.h.Mux().Protocols()
	own := map[protocol.ID]bool{}
	for _, id := range protos {
		own[id] = true
	}
	for _, id := range []protocol.ID{victim.proto("rpc/echo"), victim.proto("link/vote"), victim.proto("rpc/" + nameProto), "/ipfs/bitswap/1.2.0", victim.proto("stream/api/1"), "/meshsub/1.2.0"} {
		if !own[id] {
			t.Errorf("the host does not serve %s: %v", id, protos)
		}
	}
	for _, id := range protos {
		for _, n := range []int{1, 40, 5000} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if s, err := enemy.openStream(ctx, victim.ID(), id); err == nil {
				b := make([]byte, n)
				_, _ = rnd.Read(b)
				_ = s.SetDeadline(time.Now().Add(time.Second))
				_, _ = s.Write(b)
				_ = s.CloseWrite()
				_, _ = io.CopyN(io.Discard, s, 1<<20)
				_ = s.Reset()
			}
			cancel()
		}
	}
	if victim.Stats().Penalties == 0 {
		t.Error("garbage was not scored")
	}
	bad, err := enemy.Join("tx", accept)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	eventually(t, "an invalid flood ends in the enemy kept out", func() bool {
		i++
		_ = bad.Publish(t.Context(), []byte{byte(i), byte(i >> 8), 'x'})
		return victim.gate.banned(enemy.ID())
	})
	if got, err := friend.Call(t.Context(), victim.Self(), "echo", []byte("still there")); err != nil || string(got) != "still there" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = l.Close()
	<-drained
}

// FuzzParsePeer reads what stands in an address that a person was given.
func FuzzParsePeer(f *testing.F) {
	f.Add(PeerID(sign.FromSeed(make([]byte, 32)).Public()).String())
	f.Add("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	f.Add("12D3Koo")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePeer(s)
		if err != nil {
			return
		}
		if again, err := ParsePeer(PeerID(k).String()); err != nil || again != k {
			t.Errorf("%q reads as %s, which does not come back: %v", s, k.Short(), err)
		}
	})
}
