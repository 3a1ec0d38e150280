package driver

import (
	"runtime"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// checker judges transactions by Config.Check: in groups, because many signatures cost less together, and on all cores,
// outside of the owner's goroutine. What was sound once is not judged again: the memory goes by the hash of all bytes,
// the signature included. Callers wait for their verdicts, so what is queued is bounded by the callers there can be, and a
// worker, which ends when nothing is queued, does not outlive them.
//
// While many come, those that hold up nothing wait a moment for company (holdFor): twice as many in a group cost less
// than twice as much.
type checker struct {
	check func(txs [][]byte) []error
	known *seen
	most  int // groups at once

	mu      sync.Mutex // guards what follows
	urgent  []unit     // of proposals, which hold up a view
	bulk    []unit
	ripe    int // of bulk, from its beginning: those that wait no longer
	running int
	held    bool      // ripen is due
	window  time.Time // when the present stretch of holdFor began
	come    int       // bulk transactions that came in it,
	before  int       // and in the one before
}

// Bulk transactions wait for company for so long, while at least so many come in that time.
const (
	holdFor  = 10 * time.Millisecond
	holdFrom = 24
)

// checkGroup is how many transactions are judged together. A worker keeps its core that long: 3 ms of signatures.
const checkGroup = 256

// unit is one transaction of a job.
type unit struct {
	job *job
	at  int
}

// job is one caller's transactions.
type job struct {
	txs  [][]byte
	errs []error
	left int
	done chan struct{}
}

func newChecker(check func([][]byte) []error) *checker {
	return &checker{check: check, known: newSeen(verifiedPerGeneration), most: runtime.GOMAXPROCS(0)}
}

// verifiedPerGeneration bounds the memory of sound transactions: about what can be under way.
const verifiedPerGeneration = 1 << 17

// run gives the transactions' ids, and the first error among the verdicts on them, with its place.
func (c *checker) run(txs [][]byte, urgent bool) (ids []digest.Digest, at int, err error) {
	ids = make([]digest.Digest, len(txs))
	for i, tx := range txs {
		ids[i] = digest.Of(tx)
	}
	if c.check == nil || len(txs) == 0 {
		return ids, 0, nil
	}
	var todo []int
	j := &job{done: make(chan struct{})}
	c.known.mu.Lock()
	for i := range txs {
		if _, ok := c.known.getLocked(ids[i]); !ok {
			todo, j.txs = append(todo, i), append(j.txs, txs[i])
		}
	}
	c.known.mu.Unlock()
	if len(todo) == 0 {
		return ids, 0, nil
	}
	j.errs, j.left = make([]error, len(todo)), len(todo)
	c.put(j, urgent)
	<-j.done
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	for k, i := range todo {
		if e := j.errs[k]; e == nil {
			c.known.learnLocked(ids[i], Accept)
		} else if err == nil {
			at, err = i, e
		}
	}
	return ids, at, err
}

func (c *checker) put(j *job, urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &c.bulk
	if urgent {
		q = &c.urgent
	}
	for i := range j.txs {
		*q = append(*q, unit{j, i})
	}
	switch {
	case urgent:
	case !c.manyLocked(len(j.txs), time.Now()):
		c.ripe = len(c.bulk)
	case !c.held && c.ripe < len(c.bulk):
		c.held = true
		time.AfterFunc(holdFor, c.ripen)
	}
	c.startLocked()
}

// manyLocked counts n bulk transactions that have come, and reports whether it is worth their while to wait for more.
func (c *checker) manyLocked(n int, now time.Time) bool {
	if passed := now.Sub(c.window); passed >= holdFor {
		if c.before = c.come; passed >= 2*holdFor {
			c.before = 0
		}
		c.window, c.come = now, 0
	}
	c.come += n
	return max(c.before, c.come) >= holdFrom
}

// ripen ends the waiting of all that wait: their time is over, or a proposal needs some of them.
func (c *checker) ripen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	c.ripe = len(c.bulk)
	c.startLocked()
}

// readyLocked is how many of the bulk may be judged now.
func (c *checker) readyLocked() int {
	if len(c.bulk) >= checkGroup {
		return len(c.bulk)
	}
	return c.ripe
}

func (c *checker) startLocked() {
	groups := (len(c.urgent) + c.readyLocked() + checkGroup - 1) / checkGroup
	for n := min(groups, c.most-c.running); n > 0; n-- {
		c.running++
		go c.work()
	}
}

// work judges groups until there are none. Transactions that came one by one meanwhile make a group, too.
func (c *checker) work() {
	var group []unit
	txs := make([][]byte, 0, checkGroup)
	for {
		c.mu.Lock()
		for _, u := range group {
			if u.job.left--; u.job.left == 0 {
				close(u.job.done)
			}
		}
		group = c.takeLocked()
		if len(group) == 0 {
			c.running--
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		txs = txs[:0]
		for _, u := range group {
			txs = append(txs, u.job.txs[u.at])
		}
		for k, err := range c.check(txs) {
			group[k].job.errs[group[k].at] = err
		}
		runtime.Gosched() // the owner may wait for this core
	}
}

// takeLocked makes a group. Where the urgent leave room, the bulk fills it, ripe or not.
func (c *checker) takeLocked() []unit {
	group := takeUnits(nil, &c.urgent)
	if len(group) == 0 && c.readyLocked() == 0 {
		return nil
	}
	urgent := len(group)
	group = takeUnits(group, &c.bulk)
	c.ripe = max(0, c.ripe-(len(group)-urgent))
	return group
}

// takeUnits moves units from the beginning of a queue to a group that has room.
func takeUnits(group []unit, q *[]unit) []unit {
	n := min(len(*q), checkGroup-len(group))
	group = append(group, (*q)[:n]...)
	clear((*q)[:n])
	if *q = (*q)[n:]; len(*q) == 0 {
		*q = nil
	}
	return group
}
