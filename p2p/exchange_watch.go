package p2p

import (
	"context"
	"sync"

	"github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/metanode/metanode/p2p/blob"
)

// watched is Bitswap's network with an eye on it: bytes are counted, and peers that send what nobody asked them for are
// scored. Bitswap itself computes a block's name from its bytes, so wrong bytes are a block with another name: one that
// nobody asked for.
type watched struct {
	bsnetwork.BitSwapNetwork
	x *Exchange
}

// Start implements the network.
func (w *watched) Start(to ...bsnetwork.Receiver) {
	list := make([]bsnetwork.Receiver, len(to))
	for i, r := range to {
		list[i] = &receiver{r, w.x}
	}
	w.BitSwapNetwork.Start(list...)
}

// SendMessage implements the network; blocks are sent with it alone.
func (w *watched) SendMessage(ctx context.Context, to peer.ID, m message.BitSwapMessage) error {
	err := w.BitSwapNetwork.SendMessage(ctx, to, m)
	if err == nil && len(m.Blocks()) > 0 {
		for _, b := range m.Blocks() {
			w.x.p.stats.blobOut.add(uint64(len(b.RawData())))
		}
		w.x.p.served(to)
	}
	return err
}

type receiver struct {
	bsnetwork.Receiver
	x *Exchange
}

// ReceiveMessage implements the receiver.
func (r *receiver) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	x := r.x
	if !x.p.gate.trades(from) {
		return
	}
	for _, b := range m.Blocks() {
		x.p.stats.blobIn.add(uint64(len(b.RawData())))
		if len(b.RawData()) > blob.MaxBlock || !x.asked.has(b.Cid()) {
			x.p.stats.blobBad.add(1)
			x.p.penalise(from, PenaltyMajor, "a block that nobody asked it for: wrong bytes, or a gift")
			return // nothing else of this message is believed
		}
	}
	if len(m.Blocks()) > 0 {
		x.p.served(from)
	}
	r.Receiver.ReceiveMessage(ctx, from, m)
}

// watchPeers keeps Bitswap from giving peers up. It asks a peer nothing more once a question has failed, until that peer
// asks something itself: and a peer to which a connection comes up while it starts may not serve blobs yet. Whoever says
// anew what it speaks is asked again.
func (x *Exchange) watchPeers() {
	sub, err := x.p.h.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated)}, eventbus.BufSize(512), eventbus.Name("blobs"))
	if err != nil {
		x.p.log.Warn("a peer that does not answer at once is not asked for blobs before the next fetch", "err", err)
		return
	}
	x.p.group.spawn(func() {
		defer sub.Close()
		for {
			select {
			case <-x.p.life.Done():
				return
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				switch e := e.(type) {
				case event.EvtPeerIdentificationCompleted:
					x.alive.OnMessage(e.Peer)
				case event.EvtPeerProtocolsUpdated:
					x.alive.OnMessage(e.Peer)
				}
			}
		}
	})
}

// revive lets every connected peer be asked again.
func (x *Exchange) revive() {
	for _, id := range x.p.h.Network().Peers() {
		x.alive.OnMessage(id)
	}
}

// asked remembers the last blocks that were asked for. An answer may come long after another peer's, so what has come
// stays remembered.
type asked struct {
	mu   sync.Mutex
	have map[string]int // by hash, how often it is in ring
	ring []string
	next int
}

func newAsked(size int) *asked { return &asked{have: map[string]int{}, ring: make([]string, size)} }

func (a *asked) note(c blob.CID) {
	h := string(c.Hash())
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.ring[a.next]; old != "" {
		if a.have[old]--; a.have[old] == 0 {
			delete(a.have, old)
		}
	}
	a.ring[a.next] = h
	a.next = (a.next + 1) % len(a.ring)
	a.have[h]++
}

func (a *asked) has(c blob.CID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have[string(c.Hash())] > 0
}
