package driver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
)

// faultStore is a datastore on a FaultDisk: what is put is in memory until Sync, and what is lost is what came last. Batches
// are whole or not there.
type faultStore struct {
	datastore.Batching
	disk   *driver.FaultDisk
	done   [][]pair // batches in order
	synced int      // so many of them are durable
}

type pair struct {
	key   datastore.Key
	value []byte // nil: the key is deleted
}

func newFaultStore(disk *driver.FaultDisk) *faultStore {
	return &faultStore{Batching: dssync.MutexWrap(datastore.NewMapDatastore()), disk: disk}
}

// restarted is what is found after disk was stopped and has become again.
func (s *faultStore) restarted(again *driver.FaultDisk) *faultStore {
	out := newFaultStore(again)
	keep := s.synced + s.disk.Left(len(s.done)-s.synced)
	for _, batch := range s.done[:keep] {
		out.apply(batch)
	}
	out.synced = s.synced
	return out
}

func (s *faultStore) apply(batch []pair) {
	for _, p := range batch { // in a map in memory: there are no errors
		if p.value == nil {
			_ = s.Batching.Delete(context.Background(), p.key)
		} else {
			_ = s.Batching.Put(context.Background(), p.key, p.value)
		}
	}
	s.done = append(s.done, batch)
}

func (s *faultStore) Put(_ context.Context, k datastore.Key, v []byte) error {
	return s.disk.Do("store put", func() { s.apply([]pair{{k, v}}) })
}

func (s *faultStore) Delete(_ context.Context, k datastore.Key) error {
	return s.disk.Do("store delete", func() { s.apply([]pair{{k, nil}}) })
}

func (s *faultStore) Batch(context.Context) (datastore.Batch, error) { return &faultBatch{s: s}, nil }

func (s *faultStore) Sync(context.Context, datastore.Key) error {
	return s.disk.Do("store sync", func() { s.synced = len(s.done) })
}

type faultBatch struct {
	s    *faultStore
	list []pair
}

func (b *faultBatch) Put(_ context.Context, k datastore.Key, v []byte) error {
	b.list = append(b.list, pair{k, v})
	return nil
}

func (b *faultBatch) Delete(_ context.Context, k datastore.Key) error {
	b.list = append(b.list, pair{k, nil})
	return nil
}

func (b *faultBatch) Commit(context.Context) error {
	return b.s.disk.Do("store commit", func() { b.s.apply(b.list) })
}

const logSegment = 12 << 10 // small, so that segments are begun and removed all the time

// lab is a network of four in which every node has a disk that can be stopped.
type lab struct {
	*hub
	nodes []*testNode
	disks []*driver.FaultDisk
}

// inForms runs a test with transactions that travel in proposals, and in batches that proposals name.
func inForms(t *testing.T, test func(t *testing.T, form func(*driver.Config))) {
	t.Run("inline", func(t *testing.T) { test(t, nil) })
	t.Run("named", func(t *testing.T) { test(t, func(c *driver.Config) { c.InlineBytes = -1 }) })
}

func newLab(t testing.TB) *lab { return newLabOf(t, consensus.Ed25519, nil) }

func newLabOf(t testing.TB, scheme consensus.Scheme, form func(*driver.Config)) *lab {
	l := &lab{hub: newHubOf(t, scheme, 4, 60_000)}
	l.change = form
	for i := range 4 {
		l.disks = append(l.disks, driver.NewFaultDisk())
		l.nodes = append(l.nodes, l.newNode(i, t.TempDir()))
		l.nodes[i].disk, l.nodes[i].store, l.nodes[i].segment = l.disks[i], newFaultStore(l.disks[i]), logSegment
	}
	t.Cleanup(func() { // of a test that gave up
		for _, n := range l.nodes {
			if n.cancel != nil {
				n.cancel()
				<-n.done
			}
		}
	})
	return l
}

// again is node i's next life: its application has forgotten everything.
func (l *lab) again(i int) *testNode {
	old := l.nodes[i]
	l.disks[i] = l.disks[i].Restarted()
	n := l.newNode(i, old.dir)
	n.segment = logSegment
	n.disk, n.store = l.disks[i], old.store.(*faultStore).restarted(l.disks[i])
	if old.keep != nil {
		newKeeper(n)
	}
	l.nodes[i] = n
	return n
}

// begin runs a node, if its disk lets it begin at all. Nothing leaves it once its disk has stopped.
func (n *testNode) begin(disk *driver.FaultDisk) error {
	go func() {
		select {
		case <-disk.Died():
			n.dead.Store(true)
		case <-n.done:
		}
	}()
	d, err := driver.New(n.config())
	if err != nil {
		close(n.done)
		return err
	}
	n.run(d)
	return nil
}

func (l *lab) commit(what string, by int, among []*testNode) {
	l.t.Helper()
	if err := l.nodes[by].d.Submit([]byte(what)); err != nil {
		l.t.Fatal(err)
	}
	eventually(l.t, what, allHave(among, what))
}

// high is the greatest height that any node called final.
func (h *hub) high() (top consensus.Height) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for x := range h.blocks {
		top = max(top, x)
	}
	return top
}

// recovers waits for a node to know where its log says it was.
func (l *lab) recovers(n *testNode, voted consensus.View) {
	l.t.Helper()
	eventually(l.t, "recovery", func() bool { return n.d.Stats().Recovered })
	if v := n.d.Stats().View; v < voted {
		l.t.Errorf("a node that voted in view %d is in view %d", voted, v)
	}
}

// where compares a node with what it said before it was stopped. It may have been the only one to know that its last
// block was final, by votes that it alone had heard: then it is so again with the next block, and an idle chain does not
// hurry to make one.
func (l *lab) where(n *testNode, height consensus.Height, voted consensus.View) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("height %d, which it had", height), func() bool { return n.d.Stats().Recovered && n.d.Stats().Height >= height })
	if v := n.d.Stats().View; v < voted {
		l.t.Errorf("a node that voted in view %d is in view %d", voted, v)
	}
}

func (h *hub) lastVote(n *testNode) (last consensus.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, view := range h.said.voted {
		if at.who == n.key.Public() {
			last = max(last, view)
		}
	}
	return last
}

// operations is how many one validator's disk sees while four commit a few transactions.
func operations(t *testing.T, form func(*driver.Config)) (n int) {
	synctest.Test(t, func(t *testing.T) {
		l := newLabOf(t, consensus.Ed25519, form)
		for i, x := range l.nodes {
			if err := x.begin(l.disks[i]); err != nil {
				t.Fatal(err)
			}
		}
		l.feed(l.nodes, nil)
		n = l.disks[0].Ops()
		stopAll(l.nodes)
	})
	return n
}

const fed = 4

// feed commits a few transactions among some nodes, until stop is closed.
func (l *lab) feed(among []*testNode, stop <-chan struct{}) {
	l.t.Helper()
	for k := range fed {
		select {
		case <-stop:
			return
		default:
			l.commit(fmt.Sprintf("tx-%d %s", k, strings.Repeat("x", 300*k)), 1+k%3, among)
		}
	}
}

// tears are those to try at the n-th operation: the two that matter everywhere, and one of the others in turn.
func tears(n int) []driver.Tear {
	all := driver.Tears()
	return []driver.Tear{all[0], all[1], all[2+n%(len(all)-2)]}
}

// TestStopAtEveryWriteOfAValidator stops a validator in each operation of its disk, log and store alike, in several ways,
// and starts it again while the others go on: it is where it was, and all that it ever said stands (record).
func TestStopAtEveryWriteOfAValidator(t *testing.T) { inForms(t, stopAtEveryWriteOfAValidator) }

func stopAtEveryWriteOfAValidator(t *testing.T, form func(*driver.Config)) {
	total := operations(t, form)
	for n := 1; n <= total; n++ {
		for _, tear := range tears(n) {
			synctest.Test(t, func(t *testing.T) {
				l := newLabOf(t, consensus.Ed25519, form)
				l.disks[0].StopAt(n, tear)
				died := l.disks[0].Died()
				for i, x := range l.nodes {
					if err := x.begin(l.disks[i]); err != nil && i > 0 {
						t.Fatal(err)
					}
				}
				l.feed(l.nodes[1:], died)
				select {
				case <-died:
				default: // its order of operations was another one this time
					l.disks[0].Stop(tear)
				}
				height, voted := consensus.Height(0), l.lastVote(l.nodes[0])
				if old := l.nodes[0]; old.d != nil {
					height = old.d.Stats().Height
					_ = old.end() // the machine is gone, whatever the error is
				}
				x := l.again(0)
				if err := x.begin(l.disks[0]); err != nil {
					t.Fatalf("stopped in operation %d leaving %s: %v", n, tear.Name, err)
				}
				l.recovers(x, voted)
				l.commit("after", 2, l.nodes)
				l.where(x, height, voted)
				stopAll(l.nodes)
				if t.Failed() {
					t.Fatalf("stopped in operation %d leaving %s", n, tear.Name)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d operations", total)
}

// TestStopOfAllAtOnce stops all four machines at one operation of one of them: what anybody called final stays final.
func TestStopOfAllAtOnce(t *testing.T) { inForms(t, stopOfAllAtOnce) }

func stopOfAllAtOnce(t *testing.T, form func(*driver.Config)) {
	total := operations(t, form)
	for n := 1; n <= total; n += 3 {
		for _, tear := range tears(n)[:2+n%2] {
			synctest.Test(t, func(t *testing.T) {
				l := newLabOf(t, consensus.Ed25519, form)
				l.disks[0].StopAt(n, tear)
				died := l.disks[0].Died()
				for i, x := range l.nodes {
					if err := x.begin(l.disks[i]); err != nil && i > 0 {
						t.Fatal(err)
					}
				}
				l.feed(l.nodes[1:], died)
				for i, x := range l.nodes {
					l.disks[i].Stop(tear)
					if x.d != nil {
						_ = x.end()
					}
				}
				height := l.high()
				for i := range l.nodes {
					if err := l.again(i).begin(l.disks[i]); err != nil {
						t.Fatalf("stopped in operation %d leaving %s: node %d: %v", n, tear.Name, i, err)
					}
				}
				l.commit("after", 2, l.nodes)
				for _, x := range l.nodes {
					l.where(x, height, l.lastVote(x))
				}
				stopAll(l.nodes)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestFailureOfEveryWrite lets each operation of a validator's disk fail once: the validator stops and says why, and
// goes on where it was when it is started again. The others do not notice.
func TestFailureOfEveryWrite(t *testing.T) { inForms(t, failureOfEveryWrite) }

func failureOfEveryWrite(t *testing.T, form func(*driver.Config)) {
	total := operations(t, form)
	for n := 1; n <= total; n++ {
		synctest.Test(t, func(t *testing.T) {
			fault, word := error(syscall.EIO), "input/output error"
			if n%2 == 0 {
				fault, word = syscall.ENOSPC, "no space left"
			}
			l := newLabOf(t, consensus.Ed25519, form)
			l.disks[0].FailAt(n, fault)
			for i, x := range l.nodes {
				if err := x.begin(l.disks[i]); err != nil && (i > 0 || !errors.Is(err, fault)) {
					t.Fatal(err)
				}
			}
			l.feed(l.nodes[1:], nil)
			height, voted := consensus.Height(0), l.lastVote(l.nodes[0])
			if old := l.nodes[0]; old.d != nil {
				height = old.d.Stats().Height
				if err := old.end(); err != nil && !strings.Contains(err.Error(), word) {
					t.Errorf("operation %d failed: %v", n, err)
				}
			}
			l.disks[0].Stop(driver.Tears()[1])
			x := l.again(0)
			if err := x.begin(l.disks[0]); err != nil {
				t.Fatalf("operation %d failed with %v: %v", n, fault, err)
			}
			l.recovers(x, voted)
			l.commit("after", 2, l.nodes)
			l.where(x, height, voted)
			stopAll(l.nodes)
		})
		if t.Failed() {
			return
		}
	}
}
