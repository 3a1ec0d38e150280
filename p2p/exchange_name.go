package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

// The protocol blob/2 asks which DAG is the file with a digest, or whether the block at the top of a DAG is here.
//
//	request:  digest (32 bytes), or CID in binary (34 or 36 bytes)
//	answer:   the length of the file (8 bytes, big-endian; 0 if asked by CID), its CID in binary
//
// The answer is a hint: the file counts only when its bytes have that digest.
const (
	nameProto = "blob/2"
	maxCID    = 40
	nameTime  = 10 * time.Second // for one peer's answer
	nameTurns = 20               // questions to a peer that is busy
	nameAsks  = 8                // peers asked at once
	namePeers = 64               // peers asked at all
)

func (x *Exchange) serveNames() {
	x.p.Handle(nameProto, Limits{RequestBytes: maxCID, ResponseBytes: 8 + maxCID, PerPeer: 32, Total: 256, PerSecond: 2000}, func(ctx context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
		if len(req) == digest.Size {
			if r, ok := x.store.Find(digest.Digest(req)); ok {
				return encodeName(r), nil
			}
			return nil, absent
		}
		c, err := blob.ReadCID(req)
		if err != nil {
			return nil, &RemoteError{CodeRefused, "want a digest or a CID"}
		}
		if have, err := x.store.Blocks().Has(ctx, c); err != nil || !have {
			return nil, absent
		}
		return encodeName(blob.Root{CID: c}), nil
	})
}

var absent = &RemoteError{CodeNotFound, "does not have it"}

func encodeName(r blob.Root) []byte {
	return append(binary.BigEndian.AppendUint64(nil, r.Bytes), r.CID.Bytes()...)
}

var errBadName = errors.New("answers with nonsense")

// decodeName reads an answer.
func decodeName(b []byte) (blob.Root, error) {
	if len(b) < 8 || len(b) > 8+maxCID {
		return blob.Root{}, fmt.Errorf("%w: %d bytes", errBadName, len(b))
	}
	r := blob.Root{Bytes: binary.BigEndian.Uint64(b)}
	var err error
	if r.CID, err = blob.ReadCID(b[8:]); err != nil {
		return blob.Root{}, fmt.Errorf("%w: %w", errBadName, err)
	}
	return r, nil
}

// named is one peer's answer.
type named struct {
	by   sign.PublicKey
	root blob.Root
	err  error
}

// ask asks peers for a name, several at once, and gives their answers as they come. The channel is closed
// when all have answered or ctx has ended; wait waits for that, and the answers need not be taken.
func (x *Exchange) ask(ctx context.Context, req []byte, from []sign.PublicKey) (answers <-chan named, wait func()) {
	next := make(chan sign.PublicKey, namePeers)
	for _, k := range from {
		if k != x.p.self && len(next) < namePeers {
			next <- k
		}
	}
	close(next)
	out := make(chan named, namePeers) // has room for all answers
	var group sync.WaitGroup
	for range min(nameAsks, len(next)) {
		group.Go(func() {
			for k := range next {
				if ctx.Err() != nil {
					return
				}
				r, err := x.askOne(ctx, req, k)
				out <- named{k, r, err}
			}
		})
	}
	all := make(chan struct{})
	go func() {
		group.Wait()
		close(out)
		close(all)
	}()
	return out, func() { <-all }
}

// askOne asks one peer, again while it is busy.
func (x *Exchange) askOne(ctx context.Context, req []byte, k sign.PublicKey) (blob.Root, error) {
	select {
	case x.asks <- struct{}{}:
		defer func() { <-x.asks }()
	case <-ctx.Done():
		return blob.Root{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	for turn := 0; ; turn++ {
		b, err := x.p.Call(ctx, k, nameProto, req)
		var remote *RemoteError
		if errors.As(err, &remote) && remote.Code == CodeBusy && turn < nameTurns {
			wait := time.NewTimer(50*time.Millisecond + rand.N(200*time.Millisecond))
			select {
			case <-wait.C:
				continue
			case <-ctx.Done():
				wait.Stop()
			}
		}
		if err != nil {
			return blob.Root{}, err
		}
		r, err := decodeName(b)
		if err != nil {
			x.p.penalise(PeerID(k), PenaltyMajor, "garbage on "+nameProto)
			return r, err
		}
		x.alive.OnMessage(PeerID(k))
		return r, nil
	}
}
