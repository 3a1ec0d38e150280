package node

import (
	"errors"
	"maps"
	"math/rand"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
	"github.com/metanode/metanode/receipt"
)

// TestPruneKilledAtEveryWrite ends the machine at each write of pruning: blocks, events and archive agree ever after.
func TestPruneKilledAtEveryWrite(t *testing.T) {
	start := newMemory()
	s := newSolo(t, start)
	s.drive(rand.New(rand.NewSource(2)), 150)
	head := uint64(s.ledger.Height())
	const below = 140
	for n := 0; ; n++ {
		db := start.copied()
		db.left = n
		done := func() error {
			l, _, err := openLedger(t.Context(), db, s.genesis)
			if err != nil {
				return err
			}
			chain, err := chainstore.Open(db)
			if err != nil {
				return err
			}
			for more := true; more; {
				if _, more, err = l.prune(t.Context(), chain, below); err != nil {
					return err
				}
			}
			return nil
		}
		err := done()
		if err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		db.left = 1 << 30
		l, _, openErr := openLedger(t.Context(), db, s.genesis)
		if openErr != nil {
			t.Fatal(openErr)
		}
		chain, openErr := chainstore.Open(db)
		if openErr != nil {
			t.Fatal(openErr)
		}
		base := l.base.Load()
		for h := uint64(1); h <= head; h++ {
			_, blockErr := chain.Block(consensus.Height(h))
			events, eventsErr := l.events(t.Context(), h)
			if eventsErr != nil || (blockErr == nil) != (h >= base) || h < base && len(events) > 0 {
				t.Fatalf("killed at write %d: base %d, block %d: %v, %d events, %v", n, base, h, blockErr, len(events), eventsErr)
			}
			if want, _ := s.ledger.events(t.Context(), h); h >= base && len(want) != len(events) {
				t.Fatalf("block %d has lost events", h)
			}
		}
		if err == nil {
			if base != below || n < 2 {
				t.Fatalf("base %d after %d writes", base, n)
			}
			return
		}
		if err := done(); err != nil || l.loadBase(t.Context()) != nil || l.base.Load() != below {
			t.Fatalf("killed at write %d: then %v, base %d", n, err, l.base.Load())
		}
	}
}

func TestPruneBelowKeepsWhatNewPeersNeed(t *testing.T) {
	s := newSolo(t, newMemory())
	s.drive(rand.New(rand.NewSource(3)), 120)
	folder := s.folder(t.TempDir())
	p := s.maker(folder)
	p.cfg = configs.Storage{RetainBlocks: 64}
	below := func() uint64 {
		t.Helper()
		h, err := p.pruneBelow()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if got := below(); got != 0 {
		t.Errorf("without a snapshot: %d", got)
	}
	s.save(folder)
	s.drive(rand.New(rand.NewSource(4)), 20)
	if got, want := below(), uint64(s.ledger.Height())-64; got != want {
		t.Errorf("below %d, want %d", got, want)
	}
	s.drive(rand.New(rand.NewSource(4)), 100)
	if got := below(); got != uint64(folder.List()[0].Height()) {
		t.Errorf("below %d, the oldest snapshot is of %d", got, folder.List()[0].Height())
	}
	p.cfg.RetainBlocks = 1 // the leader rule of one validator looks 16 views back
	s.save(folder)
	s.save(folder)
	if got, most := below(), uint64(s.ledger.Height())-16; got >= most {
		t.Errorf("below %d, and the leader rule looks at blocks from %d on", got, most)
	}
	p.cfg.RetainBlocks = 0
	if got := below(); got != 0 {
		t.Errorf("though all is to be kept: %d", got)
	}
}

// TestReceiptsOfPrunedBlocksVerify prunes everything that a receipt was made from, and makes it again from the archive.
func TestReceiptsOfPrunedBlocksVerify(t *testing.T) {
	db := newMemory()
	s := newSolo(t, db)
	s.drive(rand.New(rand.NewSource(5)), 200)
	set, err := consensus.NewValidatorSet(s.genesis.Validators)
	if err != nil {
		t.Fatal(err)
	}
	trust := receipt.NewTrustFile(s.genesis, &s.blocks[0].Header, set)
	store, err := blob.Open(t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	n := &Node{ledger: s.ledger, genesis: s.genesis, chain: s.chain, store: store}
	receipts := func() map[digest.Digest]string {
		all := map[digest.Digest]string{}
		found, err := db.Query(t.Context(), query.Query{Prefix: sealPrefix, KeysOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for e := range found.Next() {
			job, err := digest.Parse(e.Key[len(sealPrefix)+1:])
			if err != nil {
				t.Fatal(err)
			}
			out := job.Short()
			if err := store.PutExpect(t.Context(), strings.NewReader(out), digest.Of([]byte(out)), uint64(len(out))); err != nil {
				t.Fatal(err)
			}
			at, _ := s.ledger.seal(t.Context(), job)
			r, err := n.receiptAt(t.Context(), job, at, 0)
			if err != nil {
				t.Fatalf("receipt of a job sealed in block %d: %v", at.Height, err)
			}
			if rep := receipt.Verify(r, trust, nil); !rep.Valid() {
				t.Fatalf("receipt of a job sealed in block %d: %+v", at.Height, rep.Steps)
			}
			raw, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			all[job] = string(raw)
		}
		return all
	}
	before := receipts()
	if len(before) < 10 {
		t.Fatalf("%d jobs were sealed", len(before))
	}
	for more := true; more; {
		if _, more, err = s.ledger.prune(t.Context(), s.chain, 190); err != nil {
			t.Fatal(err)
		}
	}
	if s.ledger.base.Load() != 190 {
		t.Fatalf("base %d", s.ledger.base.Load())
	}
	after := receipts()
	if !maps.Equal(before, after) {
		t.Errorf("%d receipts before, %d after, and not the same", len(before), len(after))
	}
}
