package mempool

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

func give(t *testing.T, p *Pool, txs ...[]byte) {
	t.Helper()
	for _, tx := range txs {
		if err := p.Offer(tx); err != nil {
			t.Fatal(err)
		}
	}
}

func texts(txs [][]byte) (out []string) {
	for _, tx := range txs {
		out = append(out, fmt.Sprintf("%d%s", tx[0], tx[10:]))
	}
	return out
}

func TestTakeGivesOnceAndRoundTheClients(t *testing.T) {
	p := newPool(t, Config{})
	give(t, p, tx(1, "a"), tx(1, "b"), tx(1, "c"), tx(2, "x"))
	if err := p.Add(tx(3, "heard")); err != nil {
		t.Fatal(err)
	}
	if txs, size := p.Fresh(); txs != 4 || size != 4*11 {
		t.Fatalf("%d fresh transactions, %d bytes", txs, size)
	}
	if got := fmt.Sprint(texts(p.Take(3, 1000))); got != "[1a 2x 1b]" {
		t.Fatalf("took %s", got)
	}
	// What was taken is in a batch; what others told of is for blocks only.
	if got := fmt.Sprint(texts(p.Reap(9, 1000, nil))); got != "[1c 3heard]" {
		t.Fatalf("reaped %s", got)
	}
	if p.Len() != 5 {
		t.Fatalf("%d wait", p.Len())
	}
	if err := p.Offer(tx(1, "a")); err == nil {
		t.Fatal("a taken transaction was offered again")
	}
	if got := fmt.Sprint(texts(p.Take(9, 1000))); got != "[1c]" {
		t.Fatalf("took %s", got)
	}
	if got := p.Take(9, 1000); len(got) != 0 {
		t.Fatalf("took %v twice", texts(got))
	}
	p.Return(idsOf(tx(1, "b"), tx(2, "x"), tx(3, "heard"), tx(4, "unknown")))
	give(t, p, tx(1, "d"))
	if got := fmt.Sprint(texts(p.Take(9, 1000))); got != "[1b 2x 1d]" {
		t.Fatalf("took %s after a return", got)
	}
}

func TestTakeKeepsItsBounds(t *testing.T) {
	p := newPool(t, Config{})
	give(t, p, tx(1, "0123456789"), tx(1, "b"), tx(2, "c"))
	if got := fmt.Sprint(texts(p.Take(9, 15))); got != "[2c]" {
		t.Fatalf("took %s: what follows a transaction without room must wait with it", got)
	}
	if got := fmt.Sprint(texts(p.Take(1, 1000))); got != "[10123456789]" {
		t.Fatalf("took %s", got)
	}
}

// TestTakeAgreesWithASimplePool does random things to a pool and to a list.
func TestTakeAgreesWithASimplePool(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := newPool(t, Config{RatePerClient: -1})
	type naive struct {
		tx    []byte
		state state
	}
	var order []digest.Digest
	all := map[digest.Digest]*naive{}
	some := func(want func(*naive) bool) (ids []digest.Digest) {
		for _, id := range order {
			if n := all[id]; n != nil && want(n) && rng.IntN(3) == 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for i := range 3000 {
		switch rng.IntN(6) {
		case 0, 1:
			x := tx(byte(rng.IntN(4)), fmt.Sprint(i))
			give(t, p, x)
			order = append(order, ID(x))
			all[ID(x)] = &naive{x, fresh}
		case 2:
			x := tx(byte(rng.IntN(4)), fmt.Sprint(i))
			if err := p.Add(x); err != nil {
				t.Fatal(err)
			}
			order = append(order, ID(x))
			all[ID(x)] = &naive{x, loose}
		case 3:
			left := 0
			for _, n := range all {
				if n.state == fresh {
					left++
				}
			}
			k := rng.IntN(5)
			got := p.Take(k, 1<<20)
			if len(got) != min(k, left) {
				t.Fatalf("step %d: took %d of %d, wanted %d", i, len(got), left, k)
			}
			for _, x := range got {
				n := all[ID(x)]
				if n == nil || n.state != fresh {
					t.Fatalf("step %d: took what is not fresh", i)
				}
				n.state = taken
				// No earlier fresh one of this client was passed over.
				for _, id := range order {
					if id == ID(x) {
						break
					}
					if e := all[id]; e != nil && e.state == fresh && e.tx[0] == x[0] {
						t.Fatalf("step %d: a client's order was not kept", i)
					}
				}
			}
		case 4:
			ids := some(func(*naive) bool { return true })
			p.Return(ids)
			for _, id := range ids {
				if all[id].state == taken {
					all[id].state = fresh
				}
			}
		case 5:
			ids := some(func(*naive) bool { return true })
			p.Committed(ids)
			for _, id := range ids {
				delete(all, id)
			}
		}
		txs, size := 0, 0
		for _, n := range all {
			if n.state == fresh {
				txs, size = txs+1, size+len(n.tx)
			}
		}
		if a, b := p.Fresh(); a != txs || b != size || p.Len() != len(all) {
			t.Fatalf("step %d: %d fresh, %d bytes, %d in all; want %d, %d, %d", i, a, b, p.Len(), txs, size, len(all))
		}
	}
}
