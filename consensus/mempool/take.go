package mempool

import (
	"container/list"

	"github.com/metanode/metanode/internal/digest"
)

// state says what has been done with an entry so far.
type state byte

const (
	loose state = iota // others know of it already, or nobody is to be told
	fresh              // came to this node first: Take gives it
	taken              // Take gave it: it is on its way in a batch
)

// fit is whether an entry was taken in a round.
type fit byte

const (
	fits     fit = iota
	tooLarge     // this client's turn is over: what follows keeps its order and waits as well
	full         // the round is over
)

func (c *client) front() *list.Element { return c.queue.Front() }

func (c *client) fresh() *list.Element { return c.next }

// roundLocked goes round the clients of the priority lane, and then round the others, one wanted entry each from start.
func (p *Pool) roundLocked(start func(*client) *list.Element, want func(*entry) bool, take func(*entry) fit) {
	for _, l := range []*lane{p.priority, p.normal} {
		next := make([]*list.Element, 0, l.ring.Len())
		for c := l.ring.Front(); c != nil; c = c.Next() {
			if at := start(c.Value.(*client)); at != nil {
				next = append(next, at)
			}
		}
		for len(next) > 0 {
			alive := next[:0]
			for _, at := range next {
				for at != nil && !want(at.Value.(*entry)) {
					at = at.Next()
				}
				if at == nil {
					continue // this client has no more
				}
				following := at.Next()
				switch take(at.Value.(*entry)) {
				case full:
					return
				case fits:
					if following != nil {
						alive = append(alive, following)
					}
				}
			}
			next = alive
		}
	}
}

// Take gives fresh transactions for a batch, in the order of Reap, and leaves them in the pool: Reap and Take give them
// no more unless they are returned. The caller must not write to the slices.
func (p *Pool) Take(maxTxs, maxBytes int) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := [][]byte{}
	if p.freshTxs == 0 {
		return out
	}
	p.roundLocked((*client).fresh, func(e *entry) bool { return e.state == fresh }, func(e *entry) fit {
		switch {
		case len(out) >= maxTxs:
			return full
		case len(e.tx) > maxBytes:
			return tooLarge
		}
		maxBytes -= len(e.tx)
		out = append(out, e.tx)
		p.markLocked(e, taken)
		return fits
	})
	return out
}

// Return makes what Take gave fresh again, as far as it still waits: its batch was lost.
func (p *Pool) Return(ids []digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if e := p.byID[id]; e != nil && e.state == taken {
			p.markLocked(e, fresh)
		}
	}
}

// Fresh is how many transactions Take could give, and their length together.
func (p *Pool) Fresh() (txs, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freshTxs, p.freshB
}

// markLocked puts an entry into a state and keeps the client's pointer before its first fresh entry.
func (p *Pool) markLocked(e *entry, s state) {
	if e.state == s {
		return
	}
	c := e.client
	if e.state == fresh {
		p.freshTxs--
		p.freshB -= len(e.tx)
	}
	was := e.state
	e.state = s
	switch {
	case s != fresh:
		for c.next != nil && c.next.Value.(*entry).state != fresh {
			c.next = c.next.Next()
		}
		return
	case was == taken:
		c.next = c.queue.Front()
	case c.next == nil:
		c.next = e.at
	}
	p.freshTxs++
	p.freshB += len(e.tx)
}
