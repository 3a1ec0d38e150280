package enc

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// View is all that a placement depends on, besides the seed. It is not changed.
type View struct {
	Job      digest.Digest
	Attempt  uint32        // rises with every placement of the job, so that each draws anew
	Seats    uint32        // peers wanted
	Engine   digest.Digest // that a node must have registered; zero: none, see EngineAhead
	Policy   digest.Digest
	CPUClass string
	Memory   uint64 // bytes for one execution
	NowMs    uint64
	Nodes    []*Node          // sorted by peer
	Busy     []sign.PublicKey // peers that take part already
	Owners   []sign.PublicKey // operators that take part already
	Failed   []sign.PublicKey // peers that declined the job or lost it before: after all others
	Local    []uint32         // for each of Nodes, the share of the inputs it holds, in permille
}

// Pick is one peer of a Plan.
type Pick struct {
	Peer, Operator sign.PublicKey
}

// Plan is what Place decided.
type Plan struct {
	Picks    []Pick       // at most View.Seats; in order of preference
	Reasons  []NodeReason // first reason of each node that was passed over, by peer
	Eligible uint32       // operators that could serve if all their capacity were free
}

// candidatesPerSeat is d of ENC.md: how many drawn nodes compete for a seat by score. More weighs the score higher,
// fewer the draw.
const candidatesPerSeat = 2

type candidate struct {
	node  *Node
	class uint64 // 0; then the failed and suspect; then by strikes
	hash  digest.Digest
	score uint64
}

// Place chooses peers for an execution each: filter, draw by rendezvous hash, score, one execution per operator. It is a
// pure function, so anyone can recompute a placement from a receipt and the chain.
//
// The seed is the id of the block before the one that places, at least two blocks after the one that ordered the job.
// Known weakness: the proposer of that block can try several and keep the one whose placement it likes. A random beacon
// would end that.
func Place(v View, seed digest.Digest) Plan {
	var plan Plan
	var list []candidate
	owners := make(map[sign.PublicKey]bool)
	for i, n := range v.Nodes {
		reason, could := unfit(&v, n)
		if could && !owners[n.Operator] {
			owners[n.Operator] = true
			plan.Eligible++
		}
		if reason != "" {
			plan.Reasons = append(plan.Reasons, NodeReason{Peer: n.Peer, Reason: reason})
			continue
		}
		c := candidate{node: n, hash: rendezvous(seed, v.Job, v.Attempt, n.Peer), class: uint64(n.StrikesAt(v.NowMs)) << 1}
		if n.Suspect || slices.Contains(v.Failed, n.Peer) {
			c.class++
		}
		c.score = score(&v, n, v.Local[i])
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.hash.Compare(b.hash), bytes.Compare(a.node.Peer[:], b.node.Peer[:]))
	})
	list = oneEach(list)
	list = list[:min(len(list), candidatesPerSeat*int(v.Seats))]
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(b.score, a.score), a.hash.Compare(b.hash), bytes.Compare(a.node.Peer[:], b.node.Peer[:]))
	})
	for _, c := range list[:min(len(list), int(v.Seats))] {
		plan.Picks = append(plan.Picks, Pick{Peer: c.node.Peer, Operator: c.node.Operator})
	}
	return plan
}

// unfit is the first reason for which n cannot take the execution, "" if it can; could says that only its present load
// stands against it.
func unfit(v *View, n *Node) (reason string, could bool) {
	switch {
	case !n.Registered:
		return "has not registered", false
	case n.Slots == 0:
		if n.Reason != "" {
			return "takes no work: " + n.Reason, false
		}
		return "takes no work", false
	case n.Draining:
		return "is draining", false
	case !v.Engine.IsZero() && !hasDigest(n.Engines, v.Engine):
		return "does not have engine " + v.Engine.Short(), false
	case !cpuCovers(n.CPUClass, v.CPUClass):
		return fmt.Sprintf("CPU class %s, needed %s", n.CPUClass, v.CPUClass), false
	case !hasDigest(n.Policies, v.Policy):
		return "does not offer policy " + v.Policy.Short(), false
	case n.Memory < v.Memory:
		return fmt.Sprintf("has %d bytes of memory for executions, needed %d", n.Memory, v.Memory), false
	case slices.Contains(v.Busy, n.Peer):
		return "takes part already", false
	case slices.Contains(v.Owners, n.Operator):
		return "its operator takes part already with another node", false
	case n.UsedSlots >= n.Slots:
		return fmt.Sprintf("busy: all %d slots are taken", n.Slots), true
	case n.Memory-min(n.UsedMemory, n.Memory) < v.Memory:
		return fmt.Sprintf("busy: %d bytes of memory are free, needed %d", n.Memory-min(n.UsedMemory, n.Memory), v.Memory), true
	}
	return "", true
}

// EngineAhead is the engine that a node must have at hand before it can be placed: for SQL the engine, for a program in an
// image none, since images are fetched when they are needed. How near a node is to the image counts in its score.
func EngineAhead(kind string, engine digest.Digest) digest.Digest {
	if kind == KindNative {
		return digest.Digest{}
	}
	return engine
}

// score rates a fit node, at most 7000: data locality weighs most, then an even spread of the load (a job waits for
// its slowest peer), then how tightly the execution fills the memory that is left.
func score(v *View, n *Node, local uint32) uint64 {
	free := uint64(n.Slots-n.UsedSlots) * 1000 / uint64(n.Slots)
	left := max(n.Memory-min(n.UsedMemory, n.Memory), 1)
	pack := v.Memory / max(left/1000, 1)
	return 4*uint64(min(local, 1000)) + 2*free + min(pack, 1000)
}

// rendezvous is the draw: each node's hash depends on no other node, so a node that comes or goes moves nobody else.
func rendezvous(seed, job digest.Digest, attempt uint32, peer sign.PublicKey) digest.Digest {
	return digest.Sum("enc/place/1", seed[:], job[:], canon.Must(attempt), peer[:])
}

// oneEach keeps the first candidate of every operator.
func oneEach(list []candidate) []candidate {
	seen := make(map[sign.PublicKey]bool, len(list))
	out := list[:0]
	for _, c := range list {
		if !seen[c.node.Operator] {
			seen[c.node.Operator] = true
			out = append(out, c)
		}
	}
	return out
}

func hasDigest(sorted []digest.Digest, d digest.Digest) bool {
	_, ok := slices.BinarySearchFunc(sorted, d, digest.Digest.Compare)
	return ok
}

// cpuCovers reports whether a machine of class have runs work for class want: the same, or a higher level of x86-64.
func cpuCovers(have, want string) bool {
	const levels = "x86-64-v"
	if have == want {
		return true
	}
	h, ok1 := strings.CutPrefix(have, levels)
	w, ok2 := strings.CutPrefix(want, levels)
	return ok1 && ok2 && len(h) == 1 && len(w) == 1 && h >= w && w >= "1" && h <= "9"
}
