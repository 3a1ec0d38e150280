package p2p

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/sign"
)

func accept(sign.PublicKey, []byte) Verdict { return Accept }

func TestGossipReachesPeersAndVerdictsAreObeyed(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	got := make(chan string, 16)
	ta, err := a.Join("tx", accept)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := b.Join("tx", func(from sign.PublicKey, data []byte) Verdict {
		switch {
		case from != a.Self():
			t.Errorf("forwarded by %s", from.Short())
		case bytes.HasPrefix(data, []byte("bad")):
			return Reject
		case bytes.HasPrefix(data, []byte("old")):
			return Ignore
		}
		return Accept
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tb.Subscribe(func(_ sign.PublicKey, data []byte) { got <- string(data) }); err != nil {
		t.Fatal(err)
	}
	own := make(chan string, 16)
	if err := ta.Subscribe(func(_ sign.PublicKey, data []byte) { own <- string(data) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is known", func() bool { return ta.Peers() == 1 })
	for _, m := range []string{"bad", "old", "good"} {
		if err := ta.Publish(t.Context(), []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case m := <-got:
		if m != "good" {
			t.Fatalf("delivered %q", m)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing delivered")
	}
	eventually(t, "verdicts counted", func() bool { s := b.Stats(); return s.GossipRejected == 1 && s.GossipIgnored == 1 })
	if len(own) != 0 {
		t.Fatal("an own message was delivered")
	}
	if err := ta.Publish(t.Context(), make([]byte, defaultTopicBytes+1)); err == nil {
		t.Fatal("published more than the topic's bound")
	}
	if err := ta.Publish(t.Context(), []byte("good")); err != nil {
		t.Fatalf("publishing again what was seen: %v", err)
	}
}

func TestLinkCarriesInOrderAndComesBack(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	got := make(chan []byte, 1024)
	la := a.Links("vote", LinkConfig{}, func(sign.PublicKey, []byte) {})
	b.Links("vote", LinkConfig{}, func(from sign.PublicKey, msg []byte) {
		if from != a.Self() {
			t.Errorf("from %s", from.Short())
		}
		got <- msg
	})
	if la.Send(b.Self(), []byte("x")) {
		t.Fatal("sent to a peer that nobody knows")
	}
	connect(t, a, b)
	la.Keep([]sign.PublicKey{a.Self(), b.Self()})
	eventually(t, "the link is up", func() bool { return len(la.Up()) == 1 })
	for i := range 200 {
		if !la.Send(b.Self(), []byte{byte(i)}) {
			t.Fatal("link down")
		}
	}
	for i := range 200 {
		if m := <-got; len(m) != 1 || m[0] != byte(i) {
			t.Fatalf("message %d is %v", i, m)
		}
	}
	big := bytes.Repeat([]byte{7}, MaxFrame)
	if !la.Send(b.Self(), big) || !bytes.Equal(<-got, big) {
		t.Fatal("the largest message did not arrive")
	}
	if la.Send(b.Self(), make([]byte, MaxFrame+1)) {
		t.Fatal("sent more than a frame")
	}
	_ = a.h.Network().ClosePeer(b.ID())
	eventually(t, "the link comes back", func() bool { return la.Send(b.Self(), []byte("again")) && len(got) > 0 })
	la.Keep(nil)
	eventually(t, "the link is closed", func() bool { return len(la.Up()) == 0 })
}

func TestLinkIsForAllowedPeersOnly(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	la := a.Links("vote", LinkConfig{}, func(sign.PublicKey, []byte) {})
	b.Links("vote", LinkConfig{Allow: func(sign.PublicKey) bool { return false }}, func(sign.PublicKey, []byte) { t.Error("delivered") })
	la.Send(b.Self(), []byte("x"))
	eventually(t, "a refusal", func() bool { return b.Stats().LinkRefused > 0 })
	if la.Send(b.Self(), []byte("x")) {
		t.Fatal("the link is up")
	}
}

func TestLinkQueueDropsTheOldest(t *testing.T) {
	p := testHost(t, nil)
	k := &link{l: &Links{p: p}, up: true, more: make(chan struct{}, 1)}
	for i := range linkQueueFrames + 5 {
		k.put([]byte{byte(i)})
	}
	if q := k.take(nil); len(q) != linkQueueFrames || q[0][0] != 5 {
		t.Fatalf("%d messages, first %d", len(q), q[0][0])
	}
	if p.Stats().LinkDropped != 5 {
		t.Fatalf("dropped %d", p.Stats().LinkDropped)
	}
}

func TestCallAnswersRefusesAndKeepsItsStream(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	b.Handle("echo", Limits{RequestBytes: 100, ResponseBytes: 100}, func(_ context.Context, from sign.PublicKey, req []byte) ([]byte, error) {
		switch string(req) {
		case "no":
			return nil, errors.New("I will not")
		case "absent":
			return nil, &RemoteError{CodeNotFound, "no such block"}
		case "long":
			return make([]byte, 101), nil
		}
		return append([]byte(from.Short()), req...), nil
	})
	for range 20 {
		got, err := a.Call(t.Context(), b.Self(), "echo", []byte("hi"))
		if err != nil || string(got) != a.Self().Short()+"hi" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	streams := 0
	for _, c := range b.h.Network().ConnsToPeer(a.ID()) {
		for _, s := range c.GetStreams() {
			if s.Protocol() == b.proto("rpc/echo") {
				streams++
			}
		}
	}
	if streams != 1 {
		t.Errorf("%d streams for calls one after another", streams)
	}
	for req, want := range map[string]Code{"no": CodeRefused, "absent": CodeNotFound, "long": CodeTooLarge} {
		var remote *RemoteError
		if _, err := a.Call(t.Context(), b.Self(), "echo", []byte(req)); !errors.As(err, &remote) || remote.Code != want {
			t.Errorf("%s: %v", req, err)
		}
	}
	if _, err := a.Call(t.Context(), b.Self(), "echo", make([]byte, 101)); err == nil {
		t.Error("a request beyond the bound was answered")
	}
	if b.gate.score(a.ID()) == 0 {
		t.Error("a request beyond the bound was not scored")
	}
	if _, err := a.Call(t.Context(), b.Self(), "nothing", nil); err == nil {
		t.Error("an unknown protocol was answered")
	}
	// A kept stream that died in between is replaced without the caller noticing.
	_ = b.h.Network().ClosePeer(a.ID())
	eventually(t, "gone", func() bool { return !a.isMember(b.ID()) })
	if _, err := a.Call(t.Context(), b.Self(), "echo", []byte("hi")); err != nil {
		t.Error(err)
	}
}

func TestCallIsBoundedPerPeerAndEndsWithItsContext(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	release := make(chan struct{})
	var running atomic.Int32
	b.Handle("slow", Limits{PerPeer: 2}, func(ctx context.Context, _ sign.PublicKey, _ []byte) ([]byte, error) {
		running.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := a.Call(t.Context(), b.Self(), "slow", nil)
			done <- err
		}()
	}
	eventually(t, "two running", func() bool { return running.Load() == 2 })
	var remote *RemoteError
	if _, err := a.Call(t.Context(), b.Self(), "slow", nil); !errors.As(err, &remote) || remote.Code != CodeBusy {
		t.Fatalf("third at once: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	b.Handle("never", Limits{}, func(ctx context.Context, _ sign.PublicKey, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Call(ctx, b.Self(), "never", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
}

func TestRequestRateIsBounded(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	b.Handle("rated", Limits{PerSecond: 1}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return nil, nil })
	busy := 0
	for range 10 {
		var remote *RemoteError
		if _, err := a.Call(t.Context(), b.Self(), "rated", nil); errors.As(err, &remote) && remote.Code == CodeBusy {
			busy++
		}
	}
	if busy == 0 {
		t.Fatal("ten at once passed a rate of one a second")
	}
}

func TestHTTPOverStreamsKnowsTheCaller(t *testing.T) {
	server := testHost(t, nil)
	client := testHost(t, func(c *Config) { c.Client = true })
	if len(client.h.Network().ListenAddresses()) != 0 {
		t.Fatal("a client listens")
	}
	key, err := client.Connect(t.Context(), server.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Listener("api/1")
	if err != nil {
		t.Fatal(err)
	}
	type caller struct{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k, _ := r.Context().Value(caller{}).(sign.PublicKey)
		_, _ = io.Copy(w, io.MultiReader(bytes.NewReader([]byte(k.String())), r.Body))
	}))
	srv.Listener = l
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		k, _ := RemotePeer(c)
		return context.WithValue(ctx, caller{}, k)
	}
	srv.Start()
	defer srv.Close()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return client.DialStream(ctx, key, "api/1") }}
	defer tr.CloseIdleConnections()
	for range 3 {
		resp, err := (&http.Client{Transport: tr}).Post("http://peer/x", "text/plain", bytes.NewReader([]byte("body")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != client.Self().String()+"body" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after Close: %v", err)
	}
}

// BenchmarkLinkRoundTrip is one message there and one back.
func BenchmarkLinkRoundTrip(b *testing.B) {
	mk := func(seed byte) *Host {
		p, err := New(Config{Key: sign.FromSeed(bytes.Repeat([]byte{seed}, 32)), Network: "bench", ListenAddrs: []string{"127.0.0.1"}, EnableEncryption: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = p.Close() })
		return p
	}
	x, y := mk(1), mk(2)
	back := make(chan struct{}, 1)
	lx := x.Links("vote", LinkConfig{}, func(sign.PublicKey, []byte) { back <- struct{}{} })
	var ly *Links
	ly = y.Links("vote", LinkConfig{}, func(from sign.PublicKey, msg []byte) { ly.Send(from, msg) })
	if _, err := x.Connect(b.Context(), y.Addrs()[0]); err != nil {
		b.Fatal(err)
	}
	lx.Keep([]sign.PublicKey{y.Self()})
	ly.Keep([]sign.PublicKey{x.Self()})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(lx.Up()) == 0 || len(ly.Up()) == 0 {
		<-tick.C
	}
	msg := make([]byte, 200)
	for b.Loop() {
		lx.Send(y.Self(), msg)
		<-back
	}
}
