package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

// wire notes what reaches it and when. Its streams are down.
type wire struct {
	start time.Time
	got   []string
}

func (w *wire) note(what string, msg []byte) {
	w.got = append(w.got, fmt.Sprintf("%s %s %v", what, msg, time.Since(w.start)))
}

func (w *wire) Gossip(_ driver.Kind, msg []byte) error {
	w.note("gossip", msg)
	return nil
}

func (w *wire) Send(_ sign.PublicKey, _ driver.Kind, msg []byte) bool {
	w.note("send", msg)
	return string(msg) != "down"
}

func (w *wire) Request(_ context.Context, _ sign.PublicKey, _ driver.Kind, req []byte) ([]byte, error) {
	w.note("request", req)
	return req, nil
}

func (w *wire) Peers() []sign.PublicKey { return nil }

func TestDelayHoldsEveryMessageInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{start: time.Now()}
		d := newDelayed(w, 10*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.run(ctx); close(done) }()
		d.Gossip(driver.KindTx, []byte("a"))
		time.Sleep(4 * time.Millisecond)
		d.Send(sign.PublicKey{}, driver.KindVote, []byte("b"))
		d.Send(sign.PublicKey{}, driver.KindVote, []byte("down"))
		time.Sleep(20 * time.Millisecond)
		if raw, err := d.Request(ctx, sign.PublicKey{}, driver.KindRange, []byte("r")); err != nil || string(raw) != "r" || time.Since(w.start) != 44*time.Millisecond {
			t.Errorf("request answered %q, %v after %v", raw, err, time.Since(w.start))
		}
		cancel()
		<-done
		want := []string{"gossip a 10ms", "send b 14ms", "send down 14ms", "gossip down 14ms", "request r 34ms"}
		if !slices.Equal(w.got, want) {
			t.Errorf("%q: want %q", w.got, want)
		}
	})
}

func TestDelayedWireIsBounded(t *testing.T) {
	d := newDelayed(&wire{}, time.Hour)
	for range maxInFlight {
		if !d.Send(sign.PublicKey{}, driver.KindVote, nil) {
			t.Fatal("no room on an empty wire")
		}
	}
	if d.Send(sign.PublicKey{}, driver.KindVote, nil) || d.Gossip(driver.KindVote, nil) == nil {
		t.Error("a full wire takes more")
	}
}
