package mempool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// tx is client, flags, expiry, body: what testCheck understands.
func tx(client byte, body string) []byte { return txAt(client, 0, 0, body) }

func txAt(client, flags byte, expires uint64, body string) []byte {
	b := []byte{client, flags}
	b = binary.BigEndian.AppendUint64(b, expires)
	return append(b, body...)
}

func idsOf(txs ...[]byte) (ids []digest.Digest) {
	for _, tx := range txs {
		ids = append(ids, ID(tx))
	}
	return ids
}

func testCheck(b []byte) (Info, error) {
	if len(b) < 10 {
		return Info{}, errors.New("short")
	}
	if strings.HasSuffix(string(b), "forged") {
		return Info{}, errors.New("signature does not verify")
	}
	return Info{Client: [32]byte{b[0]}, Priority: b[1] == 1, ExpiresMs: binary.BigEndian.Uint64(b[2:])}, nil
}

func newPool(t *testing.T, c Config) *Pool {
	t.Helper()
	if c.Check == nil {
		c.Check = testCheck
	}
	if c.RatePerClient == 0 {
		c.RatePerClient = -1
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func add(t *testing.T, p *Pool, txs ...[]byte) {
	t.Helper()
	for _, b := range txs {
		if err := p.Add(b); err != nil {
			t.Fatal(err)
		}
	}
}

func bodies(txs [][]byte) string {
	var out []string
	for _, b := range txs {
		out = append(out, string(b[10:]))
	}
	return strings.Join(out, " ")
}

func TestReapGoesRoundTheClients(t *testing.T) {
	p := newPool(t, Config{})
	add(t, p, tx(1, "a1"), tx(1, "a2"), tx(1, "a3"), tx(2, "b1"), tx(3, "c1"), tx(3, "c2"), txAt(9, 1, 0, "p1"))
	if got := bodies(p.Reap(100, 1<<20, nil)); got != "p1 a1 b1 c1 a2 c2 a3" {
		t.Fatalf("order: %s", got)
	}
	if got := bodies(p.Reap(3, 1<<20, nil)); got != "p1 a1 b1" {
		t.Fatalf("three: %s", got)
	}
	if got := bodies(p.Reap(100, 24, nil)); got != "p1 a1" {
		t.Fatalf("24 bytes: %s", got)
	}
	gone := ID(tx(1, "a1"))
	if got := bodies(p.Reap(2, 1<<20, func(d digest.Digest) bool { return d == gone })); got != "p1 a2" {
		t.Fatalf("with skip: %s", got)
	}
	// Who was served goes to the end.
	p.Committed(idsOf(tx(1, "a1"), txAt(9, 1, 0, "p1")))
	if got := bodies(p.Reap(100, 1<<20, nil)); got != "b1 c1 a2 c2 a3" {
		t.Fatalf("after commit: %s", got)
	}
}

func TestForgedCopyDoesNotSuppressTheRealOne(t *testing.T) {
	p := newPool(t, Config{})
	var invalid interface{ Invalid() bool }
	if err := p.Add(tx(1, "pay forged")); !errors.As(err, &invalid) || !invalid.Invalid() {
		t.Fatalf("forged: %v", err)
	}
	if p.Len() != 0 || p.Bytes() != 0 {
		t.Fatal("a refused transaction takes room")
	}
	add(t, p, tx(1, "pay"))
	if err := p.Add(tx(1, "pay")); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("again: %v", err)
	}
	p.Committed(idsOf(tx(1, "pay")))
	if err := p.Add(tx(1, "pay")); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("after commit: %v", err)
	}
	if p.Has(ID(tx(1, "pay"))) || p.Len() != 0 || p.Bytes() != 0 {
		t.Fatal("committed transaction still here")
	}
}

func TestBounds(t *testing.T) {
	p := newPool(t, Config{MaxTxs: 8, ClientTxs: 4, MaxTxBytes: 100, MaxBytes: 1000, ClientBytes: 300})
	if err := p.Add(make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("large: %v", err)
	}
	for i := range 4 {
		add(t, p, tx(1, fmt.Sprint(i)))
	}
	if err := p.Add(tx(1, "x")); !errors.Is(err, ErrFull) {
		t.Fatalf("client's fifth: %v", err)
	}
	add(t, p, tx(2, "a"), tx(3, "a"))
	if err := p.Add(tx(4, "a")); !errors.Is(err, ErrFull) {
		t.Fatalf("room of the priority lane was given away: %v", err)
	}
	add(t, p, txAt(5, 1, 0, "a"), txAt(6, 1, 0, "a"))
	if err := p.Add(txAt(7, 1, 0, "b")); !errors.Is(err, ErrFull) {
		t.Fatalf("ninth: %v", err)
	}
	p.Committed(idsOf(p.Reap(1, 1000, nil)...))
	add(t, p, txAt(7, 1, 0, "b"))
}

func TestRateIsPerClientAndSparesPriority(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	p := newPool(t, Config{RatePerClient: 10, Burst: 2, MaxClients: 2, Now: func() time.Time { return now }})
	add(t, p, tx(1, "1"), tx(1, "2"))
	if err := p.Add(tx(1, "3")); !errors.Is(err, ErrRate) {
		t.Fatalf("third: %v", err)
	}
	for i := range 20 {
		add(t, p, txAt(1, 1, 0, fmt.Sprint(i)))
	}
	add(t, p, tx(2, "1"))
	now = now.Add(100 * time.Millisecond)
	add(t, p, tx(1, "3"))
	if err := p.Add(tx(1, "4")); !errors.Is(err, ErrRate) {
		t.Fatalf("fourth: %v", err)
	}
	// The table is full and nobody in it may be forgotten but client 2, whose bucket has filled up; strangers after
	// that share one bucket.
	add(t, p, tx(3, "1"), tx(4, "1"), tx(5, "1"))
	if err := p.Add(tx(6, "1")); !errors.Is(err, ErrRate) {
		t.Fatalf("fresh keys buy rate: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	now := time.UnixMilli(1000)
	p := newPool(t, Config{Now: func() time.Time { return now }})
	if err := p.Add(txAt(1, 0, 999, "late")); !errors.Is(err, ErrExpired) {
		t.Fatalf("late: %v", err)
	}
	add(t, p, txAt(1, 0, 2000, "b"), txAt(1, 0, 1500, "a"), tx(1, "never"))
	if n := p.Expire(1500); n != 0 {
		t.Fatalf("%d expired at their last millisecond", n)
	}
	now = time.UnixMilli(1501)
	if got := bodies(p.Reap(10, 1000, nil)); got != "b never" {
		t.Fatalf("reaped %s", got)
	}
	if n := p.Expire(1501); n != 1 || p.Len() != 2 {
		t.Fatalf("%d expired, %d left", n, p.Len())
	}
	if n := p.Expire(1 << 60); n != 1 || p.Len() != 1 {
		t.Fatalf("%d expired, %d left", n, p.Len())
	}
}

func TestCommittedMemoryIsBounded(t *testing.T) {
	p := newPool(t, Config{MaxCommitted: 3})
	for i := range 5 {
		p.Committed(idsOf(tx(1, fmt.Sprint(i))))
	}
	if len(p.committed.set) != 3 || len(p.committed.ring) != 3 {
		t.Fatalf("%d remembered", len(p.committed.set))
	}
	if err := p.Add(tx(1, "4")); !errors.Is(err, ErrDuplicate) {
		t.Fatalf("newest: %v", err)
	}
	add(t, p, tx(1, "0"))
}

func TestNotEmptyWakes(t *testing.T) {
	p := newPool(t, Config{})
	select {
	case <-p.NotEmpty():
		t.Fatal("empty pool woke")
	default:
	}
	add(t, p, tx(1, "a"), tx(1, "b"))
	<-p.NotEmpty()
}

func TestManyGoroutines(t *testing.T) {
	p := newPool(t, Config{})
	var wg sync.WaitGroup
	for c := range byte(8) {
		wg.Go(func() {
			for i := range 200 {
				if err := p.Add(tx(c, fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					p.Committed(idsOf(p.Reap(20, 1<<20, nil)...))
				}
			}
		})
	}
	wg.Wait()
	seen := map[digest.Digest]bool{}
	for p.Len() > 0 {
		txs := p.Reap(100, 1<<20, nil)
		for _, b := range txs {
			if seen[ID(b)] {
				t.Fatal("reaped after commit")
			}
			seen[ID(b)] = true
		}
		p.Committed(idsOf(txs...))
	}
	if p.Bytes() != 0 || p.normal.ring.Len() != 0 || len(p.normal.clients) != 0 || p.normalB != 0 || p.normalTxs != 0 {
		t.Fatal("empty pool keeps something")
	}
}
