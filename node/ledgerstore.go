package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// The ledger's keys in the node's database.
const (
	leavesPrefix  = "/state"   // hex of the state's key → value
	eventsPrefix  = "/events"  // height → the block's events, canonical
	sealPrefix    = "/seal"    // job → place of its seal
	commandPrefix = "/command" // command → place of its events
	receiptPrefix = "/receipt" // job → the envelope of its sealed statement, never pruned
	workPrefix    = "/work"    // digest of a work → the job that was sealed with it last
	headKey       = "/head"    // canonical header of the last block whose effects are here
)

// place is where in the chain's history something stands.
type place struct {
	_        struct{} `cbor:",toarray"`
	Height   uint64
	From, To uint32 // events [From, To) of the block
}

func heightKey(prefix string, height uint64) datastore.Key {
	return datastore.RawKey(fmt.Sprintf("%s/%016x", prefix, height))
}

func digestKey(prefix string, d digest.Digest) datastore.Key {
	return datastore.RawKey(prefix + "/" + d.String())
}

// persist writes what a block changed in one batch.
func (l *ledger) persist(ctx context.Context, h *head, changed *enc.State, events [][]byte, spans []span) error {
	batch, err := l.db.Batch(ctx)
	if err != nil {
		return fmt.Errorf("persist block %d: %w", h.header.Height, err)
	}
	put := func(k datastore.Key, v []byte) {
		if err == nil {
			err = batch.Put(ctx, k, v)
		}
	}
	for k, v := range changed.Changes() {
		key := datastore.RawKey(leavesPrefix + "/" + hex.EncodeToString(k))
		if v != nil {
			put(key, v)
		} else if err == nil {
			err = batch.Delete(ctx, key)
		}
	}
	height := uint64(h.header.Height)
	if len(events) > 0 {
		put(heightKey(eventsPrefix, height), canon.Must(events))
	}
	for i, raw := range events {
		var ev receipt.Event
		if decode := canon.Unmarshal(raw, &ev); decode != nil {
			return fmt.Errorf("persist block %d: event %d: %w", height, i, decode)
		}
		if ev.Kind == receipt.KindJobSealed {
			put(digestKey(sealPrefix, ev.Subject), canon.Must(&place{Height: height, From: uint32(i), To: uint32(i) + 1}))
			work, envelope, archive := l.archive(h, &ev)
			if archive != nil {
				return fmt.Errorf("persist block %d: %w", height, archive)
			}
			put(digestKey(receiptPrefix, ev.Subject), envelope)
			put(digestKey(workPrefix, work), ev.Subject[:])
		}
	}
	for _, s := range spans {
		if _, seen := l.command(ctx, s.command); seen {
			continue // a replay: the first execution is the one that counts
		}
		put(digestKey(commandPrefix, s.command), canon.Must(&place{Height: height, From: s.from, To: s.to}))
	}
	put(datastore.RawKey(headKey), canon.Must(&h.header))
	if err == nil {
		err = batch.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("persist block %d: %w", height, err)
	}
	return nil
}

// load reads the durable state; datastore.ErrNotFound when there is none.
func (l *ledger) load(ctx context.Context) (*head, error) {
	raw, err := l.db.Get(ctx, datastore.RawKey(headKey))
	if err != nil {
		return nil, fmt.Errorf("load the head: %w", err)
	}
	var header consensus.Header
	if err := canon.Unmarshal(raw, &header); err != nil {
		return nil, fmt.Errorf("load the head: %w: %w", errSpoiled, err)
	}
	if header.Version != consensus.ProtocolVersion {
		return nil, &consensus.VersionError{What: "the state in this data folder", Version: header.Version, Next: "give this node a data folder of its own for the new chain"}
	}
	results, err := l.db.Query(ctx, query.Query{Prefix: leavesPrefix})
	if err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	defer results.Close()
	var bad error
	state, err := enc.Load(l.chain, leaves(results, &bad))
	if err := errors.Join(bad, err); err != nil {
		return nil, fmt.Errorf("load the state: %w: %w", errSpoiled, err)
	}
	if state.Root() != header.StateRoot {
		return nil, fmt.Errorf("load the state: its root is not that of block %d: %w", header.Height, errSpoiled)
	}
	return &head{id: header.ID(), header: header, state: state}, nil
}

// leaves yields what a query over leavesPrefix finds; bad gets the first error.
func leaves(results query.Results, bad *error) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for r := range results.Next() {
			if r.Error != nil {
				*bad = r.Error
				return
			}
			k, err := hex.DecodeString(r.Key[len(leavesPrefix)+1:])
			if err != nil {
				*bad = fmt.Errorf("key %q: %w", r.Key, err)
				return
			}
			if !yield(k, r.Value) {
				return
			}
		}
	}
}

// events gives the canonical events of a committed block.
func (l *ledger) events(ctx context.Context, height uint64) ([][]byte, error) {
	raw, err := l.db.Get(ctx, heightKey(eventsPrefix, height))
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load the events of block %d: %w", height, err)
	}
	var list [][]byte
	if err := canon.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("load the events of block %d: %w", height, err)
	}
	return list, nil
}

// seal is where a job's seal stands, if it is sealed.
func (l *ledger) seal(ctx context.Context, job digest.Digest) (place, bool) {
	return l.place(ctx, digestKey(sealPrefix, job))
}

// command is where a command's events stand, if it was ordered.
func (l *ledger) command(ctx context.Context, id digest.Digest) (place, bool) {
	return l.place(ctx, digestKey(commandPrefix, id))
}

func (l *ledger) place(ctx context.Context, k datastore.Key) (place, bool) {
	var p place
	raw, err := l.db.Get(ctx, k)
	if err != nil {
		return p, false
	}
	return p, canon.Unmarshal(raw, &p) == nil
}

// archive puts together what a receipt of a sealed job rests on, while the state still has it.
func (l *ledger) archive(h *head, ev *receipt.Event) (work digest.Digest, envelope []byte, err error) {
	job := ev.Subject
	j, ok := h.state.Job(job)
	w, there := h.state.Work(job)
	if !ok || !there || len(j.Outcome) == 0 {
		return work, nil, fmt.Errorf("archive job %s: it is sealed, but the state does not hold it", job.Short())
	}
	var seal receipt.Seal
	if err := canon.Unmarshal(ev.Body, &seal); err != nil {
		return work, nil, fmt.Errorf("archive job %s: %w", job.Short(), err)
	}
	var keys []sign.PublicKey
	var sigs []sign.Signature
	for _, peer := range seal.Agreeing {
		x := j.Execution(peer)
		if x == nil {
			return work, nil, fmt.Errorf("archive job %s: agreeing peer %s has no execution", job.Short(), peer.Short())
		}
		keys, sigs = append(keys, peer), append(sigs, x.Sig)
	}
	st := receipt.NewStatement(l.chain, job, seal.Round, w, &j.Outcome[0], j.Keyed)
	e, err := receipt.AssembleEnvelope(st, keys, sigs)
	if err != nil {
		return work, nil, fmt.Errorf("archive job %s: %w", job.Short(), err)
	}
	envelope, err = json.Marshal(e)
	return j.WorkDigest, envelope, err
}

// envelope is the archived statement of a sealed job with its signatures.
func (l *ledger) envelope(ctx context.Context, job digest.Digest) (*receipt.Envelope, error) {
	raw, err := l.db.Get(ctx, digestKey(receiptPrefix, job))
	if err != nil {
		return nil, fmt.Errorf("load the envelope of job %s: %w", job.Short(), err)
	}
	var e receipt.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("load the envelope of job %s: %w", job.Short(), err)
	}
	return &e, nil
}

// sealedWork is the job that was sealed last with a work, if any.
func (l *ledger) sealedWork(ctx context.Context, work digest.Digest) (digest.Digest, bool) {
	raw, err := l.db.Get(ctx, digestKey(workPrefix, work))
	if err != nil || len(raw) != digest.Size {
		return digest.Digest{}, false
	}
	return digest.Digest(raw), true
}
