package p2p

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

// What the chain names has holders that the chain knows. What a person added has a CID that was passed on by hand, and
// who is connected need not have it: its holders write records of it into the network's DHT, for the tops of files and
// folders alone, and whoever finds nobody connected looks there.

const (
	// MaxProvided is how many CIDs one peer writes records of. A DHT of 50 peers keeps each in 20 of them, so that a peer
	// keeps 20 times as many in the mean, whatever the size of the network: a quarter of maxProviders.
	MaxProvided = 256

	provideLook = 10 * time.Second       // how often the list is looked at
	provideGap  = 250 * time.Millisecond // between two records: a fifth of what a peer lets another write
	seekRecords = 64                     // read for one CID
	seekDials   = 8                      // peers dialed for one CID
	seekAtOnce  = 4
	seekTime    = 15 * time.Second
)

// Provide writes records of what roots gives, at most MaxProvided and the first ones, until the Host ends. They are good
// for an hour and written again before; one that roots does not give any more is left to expire. A client writes none.
func (x *Exchange) Provide(roots func() []blob.CID) {
	if x.p.dht == nil {
		return
	}
	r := &rounds{roots: roots, next: map[blob.CID]time.Time{}, write: func(ctx context.Context, c blob.CID) error {
		ctx, cancel := context.WithTimeout(ctx, provideTimeout)
		defer cancel()
		err := x.p.dht.Provide(ctx, x.p.recordKey(c), true)
		if err != nil && x.p.life.Err() == nil {
			x.p.log.Debug("DHT record of a blob not written; tried again", "cid", c, "err", err)
		}
		return err
	}}
	x.p.group.spawn(func() { r.run(x.p.life) })
}

// recordKey is where the DHT keeps who has a DAG: CIDv1(raw, SHA-256("bpci/blob/1|network|hash")), with the hash in the
// CID as hexadecimal digits. Whoever knows the CID finds it; whoever keeps the record, or sees it asked for, learns no CID.
func (p *Host) recordKey(c blob.CID) blob.CID {
	hash := c.Hash()[2:] // without the two bytes that say which and how long: blob.CheckCID allows but one
	return blob.Of(digest.Of([]byte("bpci/blob/1|" + p.cfg.Network + "|" + hex.EncodeToString(hash))))
}

// rounds is which records are written when. One goroutine owns it.
type rounds struct {
	roots func() []blob.CID
	write func(context.Context, blob.CID) error
	next  map[blob.CID]time.Time // when to write again; bounded by the pace
}

func (r *rounds) run(ctx context.Context) {
	retry := provideRetry
	for {
		wait := provideLook
		if r.round(ctx) {
			retry = provideRetry
		} else { // nobody is there to keep them, most likely
			wait, retry = jitter(retry), min(2*retry, time.Minute)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// round writes what has no record that is good for a while, and stops at the first failure.
func (r *rounds) round(ctx context.Context) bool {
	list := r.roots()
	for c, at := range r.next { // also of what is not listed any more: it may come back, and its record is there
		if !time.Now().Before(at) {
			delete(r.next, c)
		}
	}
	for _, c := range list[:min(len(list), MaxProvided)] {
		if _, good := r.next[c]; good {
			continue
		}
		if r.write(ctx, c) != nil {
			return false
		}
		r.next[c] = time.Now().Add(jitter(provideEvery))
		if !pause(ctx, provideGap) {
			return false
		}
	}
	return true
}

// pause waits, and reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// seek connects to peers that have a DAG by the DHT's records, and reports whether there is one now that was not
// connected before; Bitswap asks it by itself. A record is a hint that anybody can write. It costs a dial at most, and
// those of peers that the chain knows come first, so that no number of others keeps them out.
func (x *Exchange) seek(ctx context.Context, c blob.CID) bool {
	p := x.p
	if p.dht == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, seekTime)
	defer cancel()
	var list []peer.AddrInfo
	for i := range p.dht.FindProvidersAsync(ctx, p.recordKey(c), seekRecords) {
		if i.ID != p.ID() && p.gate.welcome(i.ID) && p.h.Network().Connectedness(i.ID) != network.Connected {
			list = append(list, i)
		}
	}
	slots := make(chan struct{}, seekAtOnce)
	var dials sync.WaitGroup
	var mu sync.Mutex
	found := false
	for _, i := range likeliest(list, p.trust.Load()) {
		slots <- struct{}{}
		dials.Go(func() {
			defer func() { <-slots }()
			if len(i.Addrs) > 0 {
				p.h.Peerstore().AddAddrs(i.ID, i.Addrs, peerstore.TempAddrTTL)
			}
			err := p.reach(ctx, i.ID)
			if err != nil {
				p.log.Debug("a provider that the DHT names is not reached", "cid", c, "peer", i.ID, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = true
		})
	}
	dials.Wait()
	return found
}

// likeliest are the providers to dial: those that the chain knows, then others.
func likeliest(list []peer.AddrInfo, t *trust) []peer.AddrInfo {
	known := func(i peer.AddrInfo) int {
		key, ok := PublicKey(i.ID)
		return rank(ok && t != nil && t.known(key))
	}
	slices.SortStableFunc(list, func(a, b peer.AddrInfo) int { return known(a) - known(b) })
	return list[:min(len(list), seekDials)]
}
