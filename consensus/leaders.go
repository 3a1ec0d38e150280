package consensus

import (
	"encoding/binary"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Leaders go round robin through the set from a start that chain and epoch give, and pass over validators that have
// proposed nothing lately, so that a dead one does not cost a timeout every round.
//
// Who is passed over is a function of the block that the new one extends, hence the same for everyone who judges a
// proposal: a validator is active for children of P if a block of P's chain in the last activeRounds rounds of views is
// its own. In the first rounds of an epoch, in every probeRounds-th round, and when the active ones are no quorum, nobody is passed
// over; that is how one that was down comes back.
//
// Validators whose highest certificates differ (only after a failed view) may disagree for one view on who leads: a view
// may then have two proposals or none. Safety never depends on leaders, and the timeouts of such a view carry every high
// QC to everyone.
const (
	activeRounds = 16
	probeRounds  = 8
	firstRounds  = 2
)

// LeaderWindow is how many views back the leader of a set of n validators depends on: Recovery.Recent has the headers
// of at least that many.
func LeaderWindow(n int) View { return View(activeRounds * n) }

// proposed is one committed block's part in the leader rule.
type proposed struct {
	view  View
	index int
}

// leaders knows the rotation and the recent committed proposers.
type leaders struct {
	set    *ValidatorSet
	epoch  Epoch
	base   View // of the epoch's root
	start  uint64
	recent []proposed // the committed chain up to and with the root, oldest first

	schedule func(View) int // Config.Schedule
}

func newLeaders(chain digest.Digest, epoch Epoch, set *ValidatorSet) *leaders {
	d := digest.Sum("bpi/leaders/1", chain[:], canon.Must(epoch))
	return &leaders{set: set, epoch: epoch, start: binary.BigEndian.Uint64(d[:8]) % uint64(set.Len())}
}

// committed notes a committed block. Blocks come in height order.
func (l *leaders) committed(h *Header) {
	if i, ok := l.set.Index(h.Proposer); ok && h.Epoch == l.epoch {
		l.recent = append(l.recent, proposed{h.View, i})
	}
	cut := 0
	for cut < len(l.recent) && l.recent[cut].view+LeaderWindow(l.set.Len()) <= h.View {
		cut++
	}
	if cut > len(l.recent)/2 {
		l.recent = append([]proposed(nil), l.recent[cut:]...)
	}
}

// nominal is the leader by plain round robin.
func (l *leaders) nominal(v View) int {
	if l.schedule != nil {
		return l.schedule(v)
	}
	return int((l.start + uint64(v)) % uint64(l.set.Len()))
}

// at is the leader of view v for children of parent.
func (l *leaders) at(v View, parent *node) int {
	if l.schedule != nil {
		return l.schedule(v)
	}
	n := l.set.Len()
	first := l.nominal(v)
	if parent.view() < l.base+View(firstRounds*n) || v%View(probeRounds*n) < View(n) {
		return first
	}
	if parent.active == nil {
		parent.active = l.active(parent)
	}
	for k := range n {
		if i := (first + k) % n; parent.active[i] {
			return i
		}
	}
	return first
}

// active marks the validators that proposed in the window that ends with p; all of them if those are no quorum.
func (l *leaders) active(p *node) []bool {
	n := l.set.Len()
	out := make([]bool, n)
	var weight uint64
	mark := func(v View, i int) {
		if v+LeaderWindow(n) > p.view() && !out[i] {
			out[i] = true
			weight += l.set.list[i].Weight
		}
	}
	for k := p; k.parent != nil; k = k.parent { // the root stands in recent
		if i, ok := l.set.Index(k.block.Header.Proposer); ok {
			mark(k.view(), i)
		}
	}
	for _, r := range l.recent {
		mark(r.view, r.index)
	}
	if !l.set.IsQuorum(weight) {
		for i := range out {
			out[i] = true
		}
	}
	return out
}

func (l *leaders) key(i int) sign.PublicKey { return l.set.list[i].Key }
