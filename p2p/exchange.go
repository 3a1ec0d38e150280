package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

// The protocol blob/1: one blob a stream.
//
//	request:  digest (32 bytes), offset (8 bytes, big-endian)
//	response: status (1 byte), length of the whole blob (8 bytes, big-endian), then its bytes from offset on
const (
	blobProto       = "blob/1"
	blobRequestSize = digest.Size + 8
	blobHeaderSize  = 1 + 8
	blobServes      = 32 // blobs served at once
	blobServesPeer  = 8  // of them to one peer
	blobTurns       = 50 // rounds over the providers while one of them is busy: about 7 s
	blobStall       = 20 * time.Second
)

const (
	blobHere   = 0
	blobAbsent = 1 // not here, or withheld: the asker cannot tell
	blobBusy   = 2
)

// ErrNoProvider means that no peer asked gave the blob; the text says who was tried and what each answered.
var ErrNoProvider = errors.New("no peer gave the blob")

var errBlobBusy = errors.New("is busy")

// Exchange serves the blobs of a store to other peers and fetches theirs.
type Exchange struct {
	p     *Host
	store *blob.Store
	serve func(d digest.Digest, from sign.PublicKey) bool
	slots chan struct{}

	mu      sync.Mutex
	serving map[peer.ID]int
	flights map[digest.Digest]*flight
}

// flight is one fetch in progress, shared by all who want the blob.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// ServePolicy is asked before each blob is given away; false looks to the asker as if it were not here. It is called from
// several goroutines. The runner uses it to withhold results before the seal.
type ServePolicy func(d digest.Digest, from sign.PublicKey) bool

// NewExchange starts to serve the store's blobs. A nil policy gives everything to every member of the network.
func NewExchange(p *Host, store *blob.Store, policy ServePolicy) *Exchange {
	x := &Exchange{p: p, store: store, serve: policy, slots: make(chan struct{}, blobServes), serving: map[peer.ID]int{}, flights: map[digest.Digest]*flight{}}
	p.h.SetStreamHandler(p.proto(blobProto), x.answer)
	return x
}

// Fetch makes sure that the blob, of that many bytes, is in the store: it asks the peers one after another, goes on
// where the last one stopped, and verifies the whole. A peer that gave wrong bytes is scored. Many callers of one blob
// share one fetch, by the first one's list of peers. The blob is durable on return.
func (x *Exchange) Fetch(ctx context.Context, d digest.Digest, bytes uint64, from []sign.PublicKey) error {
	for {
		if x.store.Has(d) {
			return nil
		}
		x.mu.Lock()
		f := x.flights[d]
		lead := f == nil
		if lead {
			f = &flight{done: make(chan struct{})}
			x.flights[d] = f
		}
		x.mu.Unlock()
		if lead {
			f.err = x.fetch(ctx, d, bytes, from)
			x.mu.Lock()
			delete(x.flights, d)
			x.mu.Unlock()
			close(f.done)
			return f.err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("fetch blob %s: %w", d, ctx.Err())
		case <-f.done:
		}
		if f.err == nil || !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.err
		}
		// The one who fetched gave up; this caller has not.
	}
}

func (x *Exchange) fetch(ctx context.Context, d digest.Digest, bytes uint64, from []sign.PublicKey) error {
	if x.store.Has(d) {
		return nil
	}
	part, err := x.store.Resume(d, bytes)
	if err != nil {
		return fmt.Errorf("fetch blob: %w", err)
	}
	defer part.Suspend()
	var tried []string
	// A wrong blob may be one peer's lie on top of another's truth, so after a restart each peer gets another turn; and
	// so do all when one was only busy.
	restarted := false
	for turn := range blobTurns {
		mixed, busy := false, false
		tried = tried[:0]
		for _, k := range from {
			if k == x.p.self {
				continue
			}
			fresh := part.Offset() == 0
			err := x.pull(ctx, part, d, bytes, PeerID(k))
			if err == nil {
				err = part.Commit()
				if err == nil {
					return nil
				}
			}
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("fetch blob %s: %w", d, ctx.Err())
			case errors.Is(err, blob.ErrDiskFull), errors.Is(err, blob.ErrQuota):
				part.Abort()
				return fmt.Errorf("fetch blob %s: %w", d, err)
			case errors.Is(err, blob.ErrMismatch):
				if err := part.Restart(); err != nil {
					return fmt.Errorf("fetch blob %s: %w", d, err)
				}
				x.p.stats.blobBad.add(1)
				if fresh { // every byte was this peer's
					x.p.penalise(PeerID(k), PenaltyMajor, "wrong bytes for blob "+d.Short())
				} else {
					mixed = !restarted
					restarted = true
				}
			case errors.Is(err, errBlobBusy):
				busy = true
			}
			x.p.log.Debug("blob fetch", "blob", d, "peer", k.Short(), "error", err)
			tried = append(tried, fmt.Sprintf("%s (%v)", PeerID(k), err))
		}
		if busy && turn < blobTurns-1 {
			wait := time.NewTimer(50*time.Millisecond + rand.N(200*time.Millisecond))
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return fmt.Errorf("fetch blob %s: %w", d, ctx.Err())
			}
		} else if !mixed {
			break
		}
	}
	if part.Offset() == 0 {
		part.Abort()
	}
	if len(tried) == 0 {
		return fmt.Errorf("fetch blob %s: %w: no peer is known to have it", d, ErrNoProvider)
	}
	return fmt.Errorf("fetch blob %s: %w; tried %s", d, ErrNoProvider, strings.Join(tried, ", "))
}

// pull appends what one peer gives, until the blob is whole.
func (x *Exchange) pull(ctx context.Context, part *blob.Partial, d digest.Digest, bytes uint64, id peer.ID) error {
	if part.Offset() == bytes && bytes > 0 {
		return nil
	}
	s, err := x.p.openStream(ctx, id, x.p.proto(blobProto))
	if err != nil {
		return err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	req := binary.BigEndian.AppendUint64(append([]byte(nil), d[:]...), part.Offset())
	_ = s.SetDeadline(time.Now().Add(blobStall))
	if _, err := s.Write(req); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	var head [blobHeaderSize]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return fmt.Errorf("no answer: %w", noEOF(err))
	}
	switch head[0] {
	case blobHere:
	case blobAbsent:
		return errors.New("does not have it")
	case blobBusy:
		return errBlobBusy
	default:
		x.p.penalise(id, PenaltyMajor, "garbage on "+blobProto)
		return fmt.Errorf("answers with an unknown status %d", head[0])
	}
	if n := binary.BigEndian.Uint64(head[1:]); n != bytes {
		return fmt.Errorf("has %d bytes under that name, want %d", n, bytes) // or the asker was told a wrong length: no blame
	}
	buf := make([]byte, 64<<10)
	for part.Offset() < bytes {
		_ = s.SetReadDeadline(time.Now().Add(blobStall))
		n, err := s.Read(buf[:min(uint64(len(buf)), bytes-part.Offset())])
		if n > 0 {
			x.p.stats.blobIn.add(uint64(n))
			if _, err := part.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && part.Offset() < bytes {
			return fmt.Errorf("broke off after %d of %d bytes: %w", part.Offset(), bytes, noEOF(err))
		}
	}
	return nil
}

// answer serves one stream.
func (x *Exchange) answer(s network.Stream) {
	id := s.Conn().RemotePeer()
	from, ok := PublicKey(id)
	if !ok || !x.p.group.enter() {
		_ = s.Reset()
		return
	}
	defer x.p.group.leave()
	if err := x.give(s, id, from); err != nil {
		_ = s.Reset()
		return
	}
	_ = s.Close()
}

func (x *Exchange) give(s network.Stream, id peer.ID, from sign.PublicKey) error {
	if !x.begin(id) {
		x.p.stats.busy.add(1)
		return refuseBlob(s, blobBusy)
	}
	defer x.finish(id)
	_ = s.SetDeadline(time.Now().Add(blobStall))
	var req [blobRequestSize]byte
	if _, err := io.ReadFull(s, req[:]); err != nil {
		return err
	}
	d := digest.Digest(req[:digest.Size])
	offset := binary.BigEndian.Uint64(req[digest.Size:])
	size, have := x.store.Size(d)
	if have && x.serve != nil && !x.serve(d, from) {
		x.p.stats.blobHeld.add(1)
		have = false
	}
	if !have {
		return refuseBlob(s, blobAbsent)
	}
	if offset > size {
		x.p.penalise(id, PenaltyMinor, "offset beyond the blob")
		return refuseBlob(s, blobAbsent)
	}
	f, err := x.store.Open(d)
	if err != nil {
		return refuseBlob(s, blobAbsent)
	}
	defer f.Close()
	if _, err := f.Seek(int64(offset), io.SeekStart); err != nil {
		return err
	}
	if _, err := s.Write(binary.BigEndian.AppendUint64([]byte{blobHere}, size)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, rerr := f.Read(buf)
		if n > 0 {
			_ = s.SetWriteDeadline(time.Now().Add(blobStall)) // a reader that stalls loses its slot
			if _, err := s.Write(buf[:n]); err != nil {
				return err
			}
			x.p.stats.blobOut.add(uint64(n))
		}
		if rerr == io.EOF {
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}

func refuseBlob(s network.Stream, status byte) error {
	_ = s.SetWriteDeadline(time.Now().Add(blobStall))
	var head [blobHeaderSize]byte
	head[0] = status
	_, err := s.Write(head[:])
	return err
}

// begin takes a place among those who are served at once.
func (x *Exchange) begin(id peer.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.serving[id] >= blobServesPeer {
		return false
	}
	select {
	case x.slots <- struct{}{}:
		x.serving[id]++
		return true
	default:
		return false
	}
}

func (x *Exchange) finish(id peer.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	<-x.slots
	if x.serving[id]--; x.serving[id] == 0 {
		delete(x.serving, id)
	}
}
