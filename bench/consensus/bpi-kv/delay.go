package main

import (
	"context"
	"errors"
	"time"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

// delayed holds every message of one validator back before it leaves, as a long wire would: all equally, in order.
// It sits between the driver and the mesh, so nothing reaches another validator earlier than the delay after it was sent,
// directly or by gossip, and the mesh below relays at its own speed.
type delayed struct {
	under driver.Network
	delay time.Duration
	queue chan parcel
}

type parcel struct {
	due  time.Time
	send func()
}

// maxInFlight bounds the messages on the wire; more are lost, as on any wire.
const maxInFlight = 65536

var errFlooded = errors.New("too many messages are on the delayed wire")

func newDelayed(under driver.Network, delay time.Duration) *delayed {
	return &delayed{under: under, delay: delay, queue: make(chan parcel, maxInFlight)}
}

// run delivers until ctx ends.
func (d *delayed) run(ctx context.Context) {
	for {
		select {
		case p := <-d.queue:
			if hold(ctx, time.Until(p.due)) == nil {
				p.send()
			}
		case <-ctx.Done():
			return
		}
	}
}

func (d *delayed) put(send func()) bool {
	select {
	case d.queue <- parcel{time.Now().Add(d.delay), send}:
		return true
	default:
		return false
	}
}

// Gossip implements driver.Network.
func (d *delayed) Gossip(kind driver.Kind, msg []byte) error {
	if !d.put(func() { _ = d.under.Gossip(kind, msg) }) { // gossip is lossy
		return errFlooded
	}
	return nil
}

// Send implements driver.Network. That there is no stream turns out only later; gossip is used then.
func (d *delayed) Send(to sign.PublicKey, kind driver.Kind, msg []byte) bool {
	return d.put(func() {
		if !d.under.Send(to, kind, msg) {
			_ = d.under.Gossip(kind, msg)
		}
	})
}

// Request implements driver.Network: there and back.
func (d *delayed) Request(ctx context.Context, to sign.PublicKey, kind driver.Kind, req []byte) ([]byte, error) {
	if err := hold(ctx, d.delay); err != nil {
		return nil, err
	}
	raw, err := d.under.Request(ctx, to, kind, req)
	if e := hold(ctx, d.delay); err == nil {
		err = e
	}
	return raw, err
}

// Peers implements driver.Network.
func (d *delayed) Peers() []sign.PublicKey { return d.under.Peers() }

func hold(ctx context.Context, wait time.Duration) error {
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
