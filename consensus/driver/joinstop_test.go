package driver_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
)

// past is a chain of three of four validators, in its second epoch, that has snapshots and no first blocks: what each of
// the nodes 1 to 3 has of it.
type past struct {
	form   func(*driver.Config)
	disks  []*driver.FaultDisk
	stores []*faultStore
	dirs   []string
	sets   map[consensus.Epoch]*consensus.ValidatorSet
	txs    []string // that are in the snapshots
}

func newPast(t *testing.T, form func(*driver.Config)) *past {
	p := &past{form: form}
	synctest.Test(t, func(t *testing.T) {
		l := newLabOf(t, consensus.Ed25519, form)
		old := l.nodes[1:]
		for _, n := range old {
			newKeeper(n)
		}
		for i, n := range old {
			if err := n.begin(l.disks[1+i]); err != nil {
				t.Fatal(err)
			}
		}
		commit := func(tx string) {
			l.commit(tx, 1, old)
			p.txs = append(p.txs, tx)
		}
		commit("zero")
		l.commit("validators 0*2 1*2 2*2 3*2", 2, old)
		eventually(t, "the second epoch", inEpoch(old, 1))
		for i := 0; ; i++ {
			gone := true
			for _, n := range old {
				gone = gone && n.keep.pruned.Load() > 2*keepEvery
			}
			if gone {
				break
			}
			commit(fmt.Sprintf("one-%d", i))
		}
		p.txs = p.txs[:len(p.txs)-1] // perhaps only above the snapshots
		stopAll(old)
		for i, n := range l.nodes {
			l.disks[i].Stop(driver.Tears()[0])
			p.disks, p.stores, p.dirs = append(p.disks, l.disks[i]), append(p.stores, n.store.(*faultStore)), append(p.dirs, n.dir)
		}
		p.sets = l.sets
	})
	if t.Failed() {
		t.FailNow()
	}
	return p
}

// lab is a network whose nodes 1 to 3 are on the chain, and whose node 0 was never there.
func (p *past) lab(t *testing.T) *lab {
	l := newLabOf(t, consensus.Ed25519, p.form)
	for e, set := range p.sets {
		l.sets[e] = set
	}
	for i, n := range l.nodes {
		if i > 0 {
			l.disks[i] = p.disks[i].Restarted()
			n.disk, n.store, n.dir = l.disks[i], p.stores[i].restarted(l.disks[i]), p.dirs[i]
		}
		newKeeper(n)
	}
	return l
}

// run starts all, and lets blocks come until node 0 has joined, made a snapshot of its own and pruned, or until it is
// stopped.
func (l *lab) run(died <-chan struct{}, mayFail error) (began bool) {
	l.t.Helper()
	for i, n := range l.nodes {
		err := n.begin(l.disks[i])
		if err != nil && i > 0 || err != nil && mayFail != nil && !errors.Is(err, mayFail) {
			l.t.Fatal(err)
		}
		began = began || i == 0 && err == nil
	}
	late := l.nodes[0]
	for k := 0; began; k++ {
		select {
		case <-died:
			return began
		case <-late.done:
			return began
		default:
		}
		base, _ := late.chain.Base()
		if late.d.Stats().Snapshots > 0 && late.keep.made.Load() > 1 && late.keep.pruned.Load() > int64(base-1) && k >= fed {
			return began
		}
		if k == 60 {
			l.t.Fatalf("node 0 does not get there: %+v, %d snapshots made", late.d.Stats(), late.keep.made.Load())
		}
		l.commit(fmt.Sprintf("tx-%d %s", k, strings.Repeat("x", 300*(k%5))), 1+k%3, l.nodes[1:])
	}
	return began
}

func (p *past) operations(t *testing.T) (n int) {
	synctest.Test(t, func(t *testing.T) {
		l := p.lab(t)
		l.run(nil, nil)
		n = l.disks[0].Ops()
		eventually(t, "the whole state", allHave(l.nodes, p.txs...))
		stopAll(l.nodes)
	})
	return n
}

// goesOn starts node 0 again after its stop: what it said stands, and it has the whole state.
func (p *past) goesOn(t *testing.T, l *lab, what string, height consensus.Height, voted consensus.View) {
	t.Helper()
	x := l.again(0)
	if err := x.begin(l.disks[0]); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	l.where(x, height, voted)
	l.commit("after", 2, l.nodes)
	eventually(t, "the whole state", allHave(l.nodes, p.txs...))
	stopAll(l.nodes)
	if t.Failed() {
		t.Fatal(what)
	}
}

// TestStopAtEveryWriteOfAJoiner stops a validator that joins by snapshot, across a change of the validators, in each
// operation of its disk: fetching, installing, voting, making snapshots of its own and pruning. Started again, it has said
// nothing else, and comes to the state of the others.
func TestStopAtEveryWriteOfAJoiner(t *testing.T) { inForms(t, stopAtEveryWriteOfAJoiner) }

func stopAtEveryWriteOfAJoiner(t *testing.T, form func(*driver.Config)) {
	p := newPast(t, form)
	total := p.operations(t)
	for n := 1; n <= total; n++ {
		for _, tear := range tears(n)[1-n%2:][:2] {
			synctest.Test(t, func(t *testing.T) {
				l := p.lab(t)
				l.disks[0].StopAt(n, tear)
				died := l.disks[0].Died()
				began := l.run(died, nil)
				select {
				case <-died:
				default: // its order of operations was another one this time
					l.disks[0].Stop(tear)
				}
				height, voted := consensus.Height(0), l.lastVote(l.nodes[0])
				if began {
					height = l.nodes[0].d.Stats().Height
					_ = l.nodes[0].end() // the machine is gone, whatever the error is
				}
				p.goesOn(t, l, fmt.Sprintf("stopped in operation %d leaving %s", n, tear.Name), height, voted)
			})
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d operations", total)
}

// TestFailureOfEveryWriteOfAJoiner lets each of them fail once: the node stops and says why, or does without what it
// wanted to keep, and joins in the end.
func TestFailureOfEveryWriteOfAJoiner(t *testing.T) { inForms(t, failureOfEveryWriteOfAJoiner) }

func failureOfEveryWriteOfAJoiner(t *testing.T, form func(*driver.Config)) {
	p := newPast(t, form)
	total := p.operations(t)
	for n := 1; n <= total; n++ {
		synctest.Test(t, func(t *testing.T) {
			fault, word := error(syscall.EIO), "input/output error"
			if n%2 == 0 {
				fault, word = syscall.ENOSPC, "no space left"
			}
			l := p.lab(t)
			l.disks[0].FailAt(n, fault)
			began := l.run(nil, fault)
			height, voted := consensus.Height(0), l.lastVote(l.nodes[0])
			if began {
				height = l.nodes[0].d.Stats().Height
				if err := l.nodes[0].end(); err != nil && !strings.Contains(err.Error(), word) {
					t.Errorf("operation %d failed: %v", n, err)
				}
			}
			l.disks[0].Stop(driver.Tears()[1])
			p.goesOn(t, l, fmt.Sprintf("operation %d failed with %v", n, fault), height, voted)
		})
		if t.Failed() {
			return
		}
	}
}
