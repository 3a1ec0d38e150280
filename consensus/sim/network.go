package sim

import (
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// carry calls do at the receiver after the network's delay, perhaps twice, perhaps never.
func (w *world) carry(from, to *node, _ consensus.View, do func() error) {
	f := &w.report.Faults
	copies := 1
	if w.bad() {
		switch {
		case w.side != nil && w.side[from.id] != w.side[to.id]:
			f.CutOff++
			copies = 0
		case w.rng.Float64() < w.cfg.Loss:
			f.Lost++
			copies = 0
		case w.rng.Float64() < w.cfg.Repeat:
			f.Repeated++
			copies = 2
		}
	}
	if copies == 0 {
		w.trace.note(traceDrop, from.id, uint64(to.id), digest.Digest{})
	}
	for range copies {
		d := w.cfg.MinMs + w.rng.Uint64N(w.cfg.MaxMs-w.cfg.MinMs+1)
		if w.bad() && w.rng.Float64() < w.cfg.Late {
			f.Late++
			d *= 10
		}
		sent, pair := w.seq, [2]int{from.id, to.id}
		w.at(w.now+d, func() error {
			if sent < w.last[pair] {
				f.Reordered++
			}
			w.last[pair] = max(sent, w.last[pair])
			if to.replica == nil {
				f.Deaf++
				return nil
			}
			return do()
		})
	}
}

// after waits by the node's clock, which may be fast or slow.
func (w *world) after(n *node, ms uint64, do func() error) {
	w.at(w.now+(ms*1000+w.clocks[n.id].mille-1)/w.clocks[n.id].mille, do)
}

func (w *world) clock(n *node) uint64 {
	c := w.clocks[n.id]
	return c.start + w.now*c.mille/1000
}

// fate lets a node crash while the network is bad, and boots it some time later.
func (w *world) fate(n *node) fate {
	if !w.bad() || w.rng.Float64() >= w.cfg.Crash {
		return lives
	}
	w.at(w.now+1+w.rng.Uint64N(w.cfg.DownMs), n.boot)
	return diesBeforeSave + fate(w.rng.IntN(3))
}

// sources is a random other node.
func (w *world) sources(n *node) []*node {
	if len(w.nodes) == 1 {
		return nil
	}
	from := w.rng.IntN(len(w.nodes) - 1)
	if from >= n.id {
		from++
	}
	return w.nodes[from : from+1]
}

// split divides the nodes at random for a while.
func (w *world) split() error {
	if !w.bad() {
		return nil
	}
	if w.side == nil && w.rng.Float64() < w.cfg.Split {
		w.report.Faults.Splits++
		w.side = make([]int, len(w.nodes))
		for i := range w.side {
			w.side[i] = w.rng.IntN(2)
		}
		w.at(w.now+1+w.rng.Uint64N(3*w.cfg.SplitMs), func() error {
			w.side = nil
			return nil
		})
	}
	w.at(w.now+w.cfg.SplitMs, w.split)
	return nil
}
