package registry

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/sign"
)

// MaxPeers bounds a table. Beyond it, who expires first goes.
const MaxPeers = 1024

// Outcome is what became of a description that was put into a table.
type Outcome int

// Outcomes. Only News is worth passing on.
const (
	News    Outcome = iota + 1 // it is in the table now
	Known                      // it was already
	Stale                      // a newer one of the same peer is known
	Refused                    // see the error
)

// ErrStranger refuses a description of a peer that the network does not know.
var ErrStranger = errors.New("the network does not know this peer")

// Table is the newest description of each peer, while it is in force. It is safe for concurrent use.
type Table struct {
	network string
	now     func() time.Time
	allow   func(sign.PublicKey) bool

	mu      sync.Mutex
	peers   map[sign.PublicKey]*Signed // mu; at most MaxPeers
	changed chan struct{}              // mu; closed at the next change
}

// NewTable makes a table for a network. now is the clock; allow says whom the network knows, and nil allows everybody.
// Both are called with no lock held but the table's own, and must not call it.
func NewTable(network string, now func() time.Time, allow func(sign.PublicKey) bool) *Table {
	if allow == nil {
		allow = func(sign.PublicKey) bool { return true }
	}
	return &Table{network: network, now: now, allow: allow, peers: map[sign.PublicKey]*Signed{}, changed: make(chan struct{})}
}

// Put takes a description in if it is acceptable, of a peer that is allowed, in force, and newer than what is known.
// The error is not nil for Refused alone: ErrInvalid, ErrExpired, ErrFuture or ErrStranger.
func (t *Table) Put(raw []byte) (Outcome, *Signed, error) {
	d, err := Open(raw, t.network)
	if err != nil {
		return Refused, nil, err
	}
	out, err := t.Add(d)
	return out, d, err
}

// Add is Put for a description that is open.
func (t *Table) Add(d *Signed) (Outcome, error) {
	now := t.now()
	if err := d.Fresh(now); err != nil {
		return Refused, err
	}
	if !t.allow(d.Peer) {
		return Refused, ErrStranger
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.peers[d.Peer]; old != nil {
		switch {
		case old.Seq == d.Seq && slices.Equal(old.Raw, d.Raw):
			return Known, nil
		case !d.Newer(old):
			return Stale, nil
		}
	} else if len(t.peers) >= MaxPeers {
		t.makeRoom(now)
	}
	t.peers[d.Peer] = d
	t.tell()
	return News, nil
}

// makeRoom drops what has expired, or else who expires first.
func (t *Table) makeRoom(now time.Time) {
	var first *Signed
	for k, d := range t.peers {
		switch {
		case d.Fresh(now) != nil:
			delete(t.peers, k)
		case first == nil || d.ExpiresMs < first.ExpiresMs || d.ExpiresMs == first.ExpiresMs && slices.Compare(d.Peer[:], first.Peer[:]) < 0:
			first = d
		}
	}
	if len(t.peers) >= MaxPeers && first != nil {
		delete(t.peers, first.Peer)
	}
}

func (t *Table) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Changed is closed when the table next takes something in or forgets a peer. Expiry is not told: see All.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// Len is how many peers the table has, expired ones among them.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.peers)
}

// Get is the description of one peer that is in force, or nil.
func (t *Table) Get(k sign.PublicKey) *Signed {
	t.mu.Lock()
	d := t.peers[k]
	t.mu.Unlock()
	if d == nil || d.Fresh(t.now()) != nil || !t.allow(k) {
		return nil
	}
	return d
}

// All is every description in force of a peer that is still allowed, in order of their keys. It forgets those that have
// expired.
func (t *Table) All() []*Signed {
	now := t.now()
	t.mu.Lock()
	all := make([]*Signed, 0, len(t.peers))
	gone := false
	for k, d := range t.peers {
		if d.Fresh(now) != nil {
			delete(t.peers, k)
			gone = true
			continue
		}
		all = append(all, d)
	}
	if gone {
		t.tell()
	}
	t.mu.Unlock()
	all = slices.DeleteFunc(all, func(d *Signed) bool { return !t.allow(d.Peer) })
	slices.SortFunc(all, func(a, b *Signed) int { return slices.Compare(a.Peer[:], b.Peer[:]) })
	return all
}

// Find is every description in force with an offer of the service, in order of their keys.
func (t *Table) Find(service string, major uint32) []*Signed {
	return slices.DeleteFunc(t.All(), func(d *Signed) bool {
		_, ok := d.Offer(service, major)
		return !ok
	})
}

// Page is at most limit descriptions of peers after a key, for another table to take in.
func (t *Table) Page(after sign.PublicKey, limit int) []*Signed {
	all := t.All()
	i, found := slices.BinarySearchFunc(all, after, func(d *Signed, k sign.PublicKey) int { return slices.Compare(d.Peer[:], k[:]) })
	if found {
		i++
	}
	return all[i:min(len(all), i+limit)]
}
