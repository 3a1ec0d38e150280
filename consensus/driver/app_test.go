package driver_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/trie"
)

// chainApp is an application whose state is the transactions so far, each with how often it came.
type chainApp struct {
	mu     sync.Mutex // tests read
	height consensus.Height
	head   *trie.Map // the committed state
	kept   map[consensus.BlockID]*trie.Map
	scheme consensus.Scheme
	txs    []string
	work   atomic.Bool
	lie    atomic.Bool
}

func newApp(scheme consensus.Scheme) *chainApp {
	return &chainApp{scheme: scheme, head: new(trie.Map), kept: map[consensus.BlockID]*trie.Map{}}
}

var genesisState = new(trie.Map).Root()

func (a *chainApp) Execute(at driver.BlockContext, txs [][]byte) (driver.Execution, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.kept[at.Parent]
	if !ok {
		if at.Height != a.height+1 {
			return driver.Execution{}, fmt.Errorf("block %d on an unknown parent at height %d", at.Height, a.height)
		}
		s = a.head
	}
	s = after(s, txs)
	if a.lie.Load() {
		s.Set([]byte("lie"), []byte(fmt.Sprint(at.Height)))
	}
	return driver.Execution{StateRoot: s.Root(), EventRoot: merkle.Root(txs), Handle: s, Next: nextIn(a.scheme, txs)}, nil
}

// after is the state that transactions lead to.
func after(s *trie.Map, txs [][]byte) *trie.Map {
	s = s.Fork()
	for _, tx := range txs {
		id := digest.Of(tx)
		was, _ := s.Get(id[:])
		s.Set(id[:], append(append([]byte{}, was...), tx...))
	}
	return s
}

// nextIn is the set that a block of txs hands over to: "validators 1 5*3" are the nodes 1 and 5, the latter of weight 3.
func nextIn(scheme consensus.Scheme, txs [][]byte) (next []consensus.Validator) {
	for _, tx := range txs {
		f := strings.Fields(string(tx))
		if len(f) < 2 || f[0] != "validators" {
			continue
		}
		next = nil
		for _, x := range f[1:] {
			who, weight := 0, uint64(1)
			if n, _ := fmt.Sscanf(x, "%d*%d", &who, &weight); n == 0 {
				return nil
			}
			next = append(next, member(scheme, who, weight))
		}
	}
	return next
}

func (a *chainApp) Keep(id consensus.BlockID, h any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept[id] = h.(*trie.Map)
}

func (a *chainApp) Commit(b *consensus.Block, f *consensus.Finality) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.kept[b.ID()]
	if !ok || b.Header.Height != a.height+1 || f.Header().ID() != b.ID() {
		return fmt.Errorf("commit of block %d at height %d, kept: %t", b.Header.Height, a.height, ok)
	}
	a.height, a.head = b.Header.Height, s
	delete(a.kept, b.ID())
	for _, tx := range b.Txs {
		a.txs = append(a.txs, string(tx))
	}
	return nil
}

func (a *chainApp) Drop(id consensus.BlockID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.kept, id)
}

func (a *chainApp) HasWork(consensus.BlockID, uint64) bool { return a.work.Load() }

func (a *chainApp) Height() consensus.Height {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.height
}
