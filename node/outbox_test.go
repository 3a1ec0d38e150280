package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// testCommand is a signed command that expires at a time of its own.
func testCommand(expires uint64) enc.Command {
	return enc.CommandBody{ExpiresMs: expires, Kind: enc.KindCancelJob, Payload: []byte{0x80}}.Sign(testKey)
}

// TestOutboxOutlivesItsProcess opens the database again, as after a crash.
func TestOutboxOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	db, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOutbox(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var ids []digest.Digest
	for _, expires := range []uint64{1000, 2000, 3000} {
		c := testCommand(expires)
		ids = append(ids, c.ID())
		for range 2 { // adding again changes nothing
			if err := o.add(t.Context(), c.ID(), c.Encode(), expires, 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = openDatabase(dir); err != nil {
		t.Fatal(err)
	}
	if o, err = openOutbox(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if o.size() != 3 || !o.has(ids[0]) || !o.has(ids[2]) {
		t.Fatalf("after the restart %d commands wait", o.size())
	}
	ordered := func(id digest.Digest) bool { return id == ids[1] }
	if out := o.due(t.Context(), 500, 100, ordered); len(out) != 2 {
		t.Errorf("%d commands are due; want the two that were not ordered", len(out))
	}
	if out := o.due(t.Context(), 550, 100, ordered); len(out) != 0 {
		t.Errorf("%d commands are due again after 50 of 100 ms", len(out))
	}
	if out := o.due(t.Context(), 1001, 100, ordered); len(out) != 1 || o.has(ids[0]) {
		t.Errorf("the first has expired; %d are due", len(out))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = openDatabase(dir); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if o, err = openOutbox(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if o.size() != 1 || !o.has(ids[2]) {
		t.Errorf("what was ordered or has expired came back: %d wait", o.size())
	}
}

// gatedDisk lets a sync end only when the test says so, and how.
type gatedDisk struct {
	datastore.Batching
	entered chan struct{}
	ends    chan error
}

func (g *gatedDisk) Sync(context.Context, datastore.Key) error {
	g.entered <- struct{}{}
	return <-g.ends
}

// TestOutboxPromisesNothingOnAnothersWrite gives one command twice at once: the second caller is not answered by a
// write that is still under way.
func TestOutboxPromisesNothingOnAnothersWrite(t *testing.T) {
	disk := &gatedDisk{Batching: datastore.NewMapDatastore(), entered: make(chan struct{}), ends: make(chan error)}
	o, err := openOutbox(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	c := testCommand(1000)
	answers := make(chan error, 2)
	for range 2 {
		go func() { answers <- o.add(t.Context(), c.ID(), c.Encode(), 1000, 10) }()
		select {
		case <-disk.entered:
		case err := <-answers:
			t.Fatalf("answered %v while nothing was durable", err)
		}
	}
	full := errors.New("no space")
	disk.ends <- full
	if err := <-answers; !errors.Is(err, full) {
		t.Errorf("the write that failed: %v", err)
	}
	disk.ends <- nil
	if err := <-answers; err != nil {
		t.Errorf("the write that did not: %v", err)
	}
	if !o.has(c.ID()) {
		t.Error("the command that was promised does not wait")
	}
}

// TestFolderIsLockedOnce holds a data folder against a second node.
func TestFolderIsLockedOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := lockFolder(dir); err == nil {
		second.release()
		t.Fatal("two nodes hold one folder")
	}
	first.release()
	again, err := lockFolder(dir)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again.release()
}

// TestLedgerNowNeverGoesBack keeps agreed time above the last block's.
func TestLedgerNowNeverGoesBack(t *testing.T) {
	l := newTestLedger(t, t.TempDir())
	ahead := uint64(time.Now().Add(time.Hour).UnixMilli())
	h := *l.head.Load()
	h.header.TimestampMs = ahead
	l.head.Store(&h)
	if l.nowMs() < ahead {
		t.Error("agreed time went back")
	}
}
