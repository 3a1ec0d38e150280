package node

import (
	"math/rand"
	"testing"
	"time"

	"github.com/metanode/metanode/configs"
)

// TestWhatIsReadIsNotPruned holds blocks for readers, and lets go of those who do not get on.
func TestWhatIsReadIsNotPruned(t *testing.T) {
	s := newSolo(t, newMemory())
	r := rand.New(rand.NewSource(8))
	s.drive(r, 110)
	folder := s.folder(t.TempDir())
	s.save(folder)
	s.drive(r, 100)
	p := s.maker(folder)
	p.cfg = configs.Storage{RetainBlocks: 64}
	all, from := p.holds.begin(0, s.ledger.base.Load)
	some, _ := p.holds.begin(50, s.ledger.base.Load)
	if from != 0 {
		t.Fatalf("all begins with block %d", from)
	}
	base := func() uint64 {
		t.Helper()
		if err := p.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.ledger.base.Load()
	}
	if got := base(); got != 0 {
		t.Errorf("pruned to %d under a reader of everything", got)
	}
	p.holds.advance(all, 30)
	if got := base(); got != 30 {
		t.Errorf("pruned to %d, a reader is at 30", got)
	}
	p.holds.end(all)
	if got := base(); got != 50 {
		t.Errorf("pruned to %d, a reader is at 50", got)
	}
	if _, from := p.holds.begin(0, s.ledger.base.Load); from != 50 {
		t.Errorf("all begins with block %d, want 50", from)
	}
	p.holds.mu.Lock()
	for x := range p.holds.list {
		x.seen = time.Now().Add(-2 * holdPatience)
	}
	p.holds.mu.Unlock()
	if got, want := base(), uint64(folder.List()[0].Height()); got != want {
		t.Errorf("pruned to %d under readers who have left, want %d", got, want)
	}
	p.holds.end(some)
}
