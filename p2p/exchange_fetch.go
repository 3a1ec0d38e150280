package p2p

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

// Fetch makes sure that the file with a digest, of that many bytes, is in the store. The peers are asked which DAG it is;
// its blocks come from all of them, and any other that has some, at once, each verified; blocks that are here already are
// not asked for again. The file counts when its bytes have the digest: a peer whose answer led elsewhere is scored. Many
// callers of one blob share one fetch, by the first one's list of peers. The blob is durable on return.
func (x *Exchange) Fetch(ctx context.Context, d digest.Digest, bytes uint64, from []sign.PublicKey) error {
	err := x.share(ctx, string(d[:]), func() bool { return x.store.Has(d) }, func(ctx context.Context, _ *flight) error {
		return x.fetchFile(ctx, d, bytes, from)
	})
	if err != nil {
		return fmt.Errorf("fetch blob %s: %w", d, err)
	}
	return nil
}

// FetchDAG makes sure that the file or folder at c is in the store, from any connected peer, or from those that the DHT
// names when none of these has it. Its blocks may take maxBytes.
func (x *Exchange) FetchDAG(ctx context.Context, c blob.CID, maxBytes uint64) error {
	if err := blob.CheckCID(c); err != nil {
		return err
	}
	asking, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, whole := x.store.Root(c); whole {
			return
		}
		if one, _ := x.survey(asking, c); one || x.seek(asking, c) {
			return
		}
		// Once more: one that has it may have connected by itself, after it would have been asked and before it was sought.
		if one, none := x.survey(asking, c); !one && none && asking.Err() == nil {
			stop(errNobody)
		}
	}()
	err := x.shareDAG(asking, c, maxBytes, 0)
	if err != nil && errors.Is(context.Cause(asking), errNobody) {
		err = errNobody
	}
	stop(nil)
	<-ended
	if err != nil {
		return fmt.Errorf("fetch %s: %w", c, err)
	}
	return nil
}

var errNobody = fmt.Errorf("%w: none of those who are connected has it, nor who the network's DHT names", ErrNoProvider)

// survey asks the connected peers for the top of a DAG: one of them has it, or none has. One that cannot be asked, as it
// speaks Bitswap alone, may have it: then it may be neither.
func (x *Exchange) survey(ctx context.Context, c blob.CID) (one, none bool) {
	var from []sign.PublicKey
	none = true
	for _, id := range x.p.h.Network().Peers() {
		if k, ok := PublicKey(id); !ok || x.p.isGuest(id) {
			none = false
		} else {
			from = append(from, k)
		}
	}
	if len(from) > namePeers {
		none = false
	}
	ctx, cancel := context.WithCancel(ctx)
	answers, ended := x.ask(ctx, c.Bytes(), from)
	defer ended()
	defer cancel()
	for n := range answers {
		if n.err == nil {
			return true, false
		}
		var remote *RemoteError
		if !errors.As(n.err, &remote) || remote.Code != CodeNotFound {
			none = false
		}
	}
	return false, none
}

func (x *Exchange) shareDAG(ctx context.Context, c blob.CID, maxBytes, known uint64) error {
	here := func() bool { _, ok := x.store.Root(c); return ok }
	return x.share(ctx, c.KeyString(), here, func(ctx context.Context, f *flight) error {
		select {
		case x.slots <- struct{}{}:
			defer func() { <-x.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return x.fetchDAG(ctx, f, c, maxBytes, known)
	})
}

// overhead bounds the nodes above the blocks of a file of that many bytes, however it was cut.
func overhead(bytes uint64) uint64 { return bytes/8 + 4<<20 }

func (x *Exchange) fetchFile(ctx context.Context, d digest.Digest, bytes uint64, from []sign.PublicKey) error {
	asking, stop := context.WithCancel(ctx)
	answers, ended := x.ask(asking, d[:], from)
	defer ended()
	defer stop()
	var tried []string
	wrong := map[string]error{} // CIDs that did not lead to the file
	for n := range answers {
		err := n.err
		if err == nil && n.root.Bytes != bytes {
			err = fmt.Errorf("has %d bytes under that name, want %d", n.root.Bytes, bytes) // or the asker was told a wrong length: no blame
		}
		if err == nil {
			key := n.root.CID.KeyString()
			var again bool
			if err, again = wrong[key]; !again {
				if err = x.shareDAG(ctx, n.root.CID, bytes+overhead(bytes), bytes); err == nil && !x.store.Has(d) {
					err = fmt.Errorf("%w: what it named is another file", blob.ErrMismatch)
				}
				if err == nil {
					return nil
				}
				wrong[key] = err
			}
			if errors.Is(err, blob.ErrMismatch) || errors.Is(err, blob.ErrDAG) || errors.Is(err, ErrTooMuch) {
				x.p.stats.blobBad.add(1)
				x.p.penalise(PeerID(n.by), PenaltyMajor, "named other bytes for blob "+d.Short())
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, blob.ErrDiskFull), errors.Is(err, blob.ErrQuota):
			return err
		}
		x.p.log.Debug("blob fetch", "blob", d, "peer", n.by.Short(), "error", err)
		var remote *RemoteError
		if errors.As(err, &remote) {
			err = errors.New(remote.Message) // without the peer's id twice
		}
		tried = append(tried, fmt.Sprintf("%s (%v)", PeerID(n.by), err))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(tried) == 0 {
		return fmt.Errorf("%w: no peer is known to have it", ErrNoProvider)
	}
	return fmt.Errorf("%w; tried %s", ErrNoProvider, strings.Join(tried, ", "))
}

// ErrTooMuch means that a DAG has more bytes than the one who fetches it has room for.
var ErrTooMuch = errors.New("more bytes than there is room for")

var errStalled = fmt.Errorf("%w: none sent a block of it for %s", ErrNoProvider, blobStall)

// emptyBlock is an empty file.
var emptyBlock = blob.Of(digest.Of(nil))

// errSlow ends a fetch that peers keep from ending: a place among the fetches is not held for ever by a byte now and then.
var errSlow = fmt.Errorf("%w: it came too slowly", ErrNoProvider)

// longest is the time that a fetch of so many bytes may take.
func longest(bytes uint64) time.Duration {
	return blobGrace + time.Duration(min(bytes/blobSlowest, 1<<30))*time.Second
}

// dagFetch is a fetch of one DAG. One goroutine walks; others bring blocks.
type dagFetch struct {
	x      *Exchange
	w      *blob.Writer
	swap   exchange.Fetcher
	flight *flight
	left   uint64 // bytes that blocks may still take
	came   bool   // whether there is anything that a later fetch can go on with
	seen   map[digest.Digest]bool
}

// fetchDAG brings the blocks of a DAG that are not here. known is the size of the file that it should be; 0 if that is
// not known.
func (x *Exchange) fetchDAG(ctx context.Context, fl *flight, c blob.CID, maxBytes, known uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // ends the session
	w := x.store.Write()
	defer w.End()
	fresh, err := w.Resume(c, maxBytes)
	if err != nil {
		return err
	}
	if fresh { // what is announced on the chain is believed, and refused before a byte has come if there is no room
		if err := w.Reserve(ctx, known); err != nil {
			w.Abandon()
			return err
		}
	}
	w.Follow(c)
	x.revive()
	f := &dagFetch{x: x, w: w, swap: x.swap.NewSession(ctx), flight: fl, left: maxBytes, seen: map[digest.Digest]bool{}}
	err = f.run(ctx, cancel, c, known)
	if errors.Is(context.Cause(ctx), errSlow) {
		err = errSlow
	}
	if err == nil {
		var root blob.Root
		if root, err = w.Complete(ctx, c); err == nil {
			return w.Keep(root)
		}
	}
	if !f.came || errors.Is(err, blob.ErrMismatch) || errors.Is(err, blob.ErrDAG) || errors.Is(err, ErrTooMuch) {
		w.Abandon()
	}
	return err
}

func (f *dagFetch) run(ctx context.Context, cancel context.CancelCauseFunc, c blob.CID, known uint64) error {
	if err := f.bring(ctx, []blob.CID{c}); err != nil {
		return err
	}
	links, total, err := f.links(ctx, c)
	if err != nil {
		return err
	}
	if known > 0 && total != known {
		return fmt.Errorf("%w: a file of %d bytes, want %d", blob.ErrMismatch, total, known)
	}
	if total > f.left {
		return fmt.Errorf("%w: it says %d bytes, and at most %d were to come", ErrTooMuch, total, f.left)
	}
	f.flight.total(total)
	late := time.AfterFunc(longest(total), func() { cancel(errSlow) })
	defer late.Stop()
	return f.below(ctx, links, 1)
}

// links are those of a block that is here, and the bytes of everything below it by its own word.
func (f *dagFetch) links(ctx context.Context, c blob.CID) ([]blob.CID, uint64, error) {
	b, err := f.x.store.Source()(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	return blob.Links(b)
}

// below brings everything below links, a part of a file after the other: what was begun is whole as soon as it can be.
func (f *dagFetch) below(ctx context.Context, links []blob.CID, depth int) error {
	if depth > blob.MaxDepth {
		return fmt.Errorf("%w: more than %d layers", blob.ErrDAG, blob.MaxDepth)
	}
	var fresh []blob.CID
	for _, c := range links {
		if d := digest.Digest(c.Hash()[2:]); !f.seen[d] {
			f.seen[d] = true
			fresh = append(fresh, c)
		}
	}
	if err := f.bring(ctx, fresh); err != nil {
		return err
	}
	for _, c := range fresh {
		if c.Type() == blob.Raw {
			continue
		}
		sub, _, err := f.links(ctx, c)
		if err != nil {
			return err
		}
		if err := f.below(ctx, sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// bring makes blocks present, several requests at once.
func (f *dagFetch) bring(ctx context.Context, list []blob.CID) error {
	var lacking []blob.CID
	for _, c := range list {
		have, n, err := f.w.Has(ctx, c)
		if err != nil {
			return err
		}
		if !have && c.Equals(emptyBlock) { // everybody has it, and Bitswap sends none without bytes
			have = true
			b, err := blocks.NewBlockWithCid(nil, c)
			if err != nil {
				return err
			}
			if err := f.w.PutMany(ctx, []blocks.Block{b}); err != nil {
				return err
			}
		}
		if !have {
			lacking = append(lacking, c)
			continue
		}
		f.came = true
		f.flight.add(n)
	}
	if len(lacking) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got := make(chan blocks.Block, blobTogether)
	more := make(chan []blob.CID)
	failed := make(chan error, blobWindows)
	workers := min(blobWindows, (len(lacking)+blobWindow-1)/blobWindow)
	for range workers {
		go func() { failed <- f.request(ctx, more, got) }()
	}
	go func() { // the workers end after it
		defer close(more)
		for len(lacking) > 0 {
			n := min(len(lacking), blobWindow)
			select {
			case more <- lacking[:n]:
				lacking = lacking[n:]
			case <-ctx.Done():
				return
			}
		}
	}()
	stall := time.NewTimer(blobStall)
	defer stall.Stop()
	var first error
	fail := func(err error) {
		if first == nil && err != nil {
			first = err
			cancel()
		}
	}
	for workers > 0 {
		select {
		case b := <-got:
			if batch := gather(got, b); first == nil {
				fail(f.store(ctx, batch))
				stall.Reset(blobStall)
			}
		case err := <-failed:
			workers--
			fail(err)
		case <-stall.C:
			fail(errStalled)
		}
	}
	for first == nil && len(got) > 0 {
		fail(f.store(ctx, gather(got, <-got)))
	}
	return first
}

// gather takes what waits behind a block.
func gather(got <-chan blocks.Block, b blocks.Block) []blocks.Block {
	batch := []blocks.Block{b}
	for len(batch) < blobTogether {
		select {
		case b := <-got:
			batch = append(batch, b)
		default:
			return batch
		}
	}
	return batch
}

// request asks for windows of blocks until there are no more.
func (f *dagFetch) request(ctx context.Context, more <-chan []blob.CID, got chan<- blocks.Block) error {
	for window := range more {
		for _, c := range window {
			f.x.asked.note(c)
		}
		in, err := f.swap.GetBlocks(ctx, window)
		if err != nil {
			return err
		}
		n := 0
		for b := range in {
			n++
			got <- b // the one who walks reads until every worker has ended
		}
		if n < len(window) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errors.New("the exchange is closed")
		}
	}
	return nil
}

// store keeps blocks that came.
func (f *dagFetch) store(ctx context.Context, list []blocks.Block) error {
	var n uint64
	for _, b := range list {
		n += uint64(len(b.RawData()))
	}
	if n > f.left {
		return fmt.Errorf("%w: over the bound of the fetch", ErrTooMuch)
	}
	f.left -= n
	if err := f.w.PutMany(ctx, list); err != nil {
		return err
	}
	f.came = true
	f.flight.add(n)
	return f.x.swap.NotifyNewBlocks(ctx, list...)
}
