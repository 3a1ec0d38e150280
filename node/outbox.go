package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// maxOutbox bounds the commands that wait in a node's outbox; further ones are refused until some are ordered.
const maxOutbox = 10_000

// errOutboxFull says that maxOutbox commands wait already.
var errOutboxFull = errors.New("the outbox is full")

// outbox keeps commands that this node answered for until they are ordered or expire. A command in it is on the disk
// and survives a restart. Safe for concurrent use.
type outbox struct {
	db datastore.Batching

	mu   sync.Mutex
	list map[digest.Digest]*waiting
}

// waiting is one command in the outbox.
type waiting struct {
	tx      []byte
	expires uint64 // agreed milliseconds
	sentMs  uint64 // agreed time of the last send
	durable bool   // on the disk
}

const outboxPrefix = "/outbox"

// openOutbox reads what an earlier process left.
func openOutbox(ctx context.Context, db datastore.Batching) (*outbox, error) {
	o := &outbox{db: db, list: map[digest.Digest]*waiting{}}
	results, err := db.Query(ctx, query.Query{Prefix: outboxPrefix})
	if err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	defer results.Close()
	for r := range results.Next() {
		if r.Error != nil {
			return nil, fmt.Errorf("open the outbox: %w", r.Error)
		}
		cmd, err := enc.DecodeCommand(r.Value)
		if err != nil {
			return nil, fmt.Errorf("open the outbox: entry %s: %w", strings.TrimPrefix(r.Key, outboxPrefix+"/"), err)
		}
		o.list[cmd.ID()] = &waiting{tx: r.Value, expires: cmd.Body.ExpiresMs, durable: true}
	}
	return o, nil
}

func outboxKey(id digest.Digest) datastore.Key {
	return datastore.RawKey(outboxPrefix + "/" + hex.EncodeToString(id[:]))
}

// add makes a command durable: when it returns without error, the command survives a crash.
func (o *outbox) add(ctx context.Context, id digest.Digest, tx []byte, expires, nowMs uint64) error {
	o.mu.Lock()
	w, known := o.list[id]
	switch {
	case known && w.durable:
		o.mu.Unlock()
		return nil
	case known: // somebody else's write is under way, and may fail: this caller's promise needs its own
	case len(o.list) >= maxOutbox:
		o.mu.Unlock()
		return errOutboxFull
	default:
		w = &waiting{tx: tx, expires: expires, sentMs: nowMs}
		o.list[id] = w
	}
	o.mu.Unlock()
	err := o.db.Put(ctx, outboxKey(id), tx)
	if err == nil {
		err = o.db.Sync(ctx, outboxKey(id))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		w.durable = true
		o.list[id] = w // the other's failure may have taken it out
		return nil
	}
	if !w.durable && o.list[id] == w {
		delete(o.list, id)
	}
	return fmt.Errorf("make command %s durable: %w", id.Short(), err)
}

// has reports whether a command waits.
func (o *outbox) has(id digest.Digest) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.list[id]
	return ok
}

// size is the number of waiting commands.
func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list)
}

// due gives the commands to send again, not sent within everyMs of agreed time, and drops those that were ordered or
// expired.
func (o *outbox) due(ctx context.Context, nowMs, everyMs uint64, ordered func(digest.Digest) bool) [][]byte {
	o.mu.Lock()
	var drop []digest.Digest
	var out [][]byte
	for id, w := range o.list {
		switch {
		case nowMs > w.expires || ordered(id):
			drop = append(drop, id)
			delete(o.list, id)
		case nowMs >= w.sentMs+everyMs:
			w.sentMs = nowMs
			out = append(out, w.tx)
		}
	}
	o.mu.Unlock()
	for _, id := range drop {
		// A removal that fails is made good at the next start: the entry is found ordered or expired then.
		_ = o.db.Delete(ctx, outboxKey(id))
	}
	return out
}
