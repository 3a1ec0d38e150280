package enc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// What one Begin does at most; the rest is done by the next blocks, and HasWork asks for them.
const (
	beginDeadlines = 512
	beginDedupe    = 8192
	beginSweep     = 256
	beginUnpark    = 256
	beginLeaving   = 64
	beginHolds     = 32
	beginScan      = 512
	beginPlace     = 128
)

// Kinds of sweep entries.
const (
	sweepClient = 'c' // a client's counters may be of no more use
	sweepJob    = 'j' // a job's result has outlived its time
)

const minuteMs = 60_000

// Begin does what is due at a block's agreed time, before the block's commands: deadlines of leases, windows and queues,
// then housekeeping, then the placement of holders and of jobs that wait. An error means corrupt state.
func (s *State) Begin(at BlockContext) ([]receipt.Event, error) {
	s.seq = 0
	s.succeed()
	s.sweep(at)
	for _, k := range s.due(keyDeadlines, at.TimestampMs, beginDeadlines) {
		id := digest.Digest(k[len(keyDeadlines)+8:])
		j, err := s.job(id)
		if err != nil {
			s.corrupt(key(keyJobs, id[:]), fmt.Errorf("a deadline without its job: %w", err))
			break
		}
		s.tick(at, j)
	}
	s.unpark()
	s.placeHolders(at)
	s.placeJobs(at)
	return s.finish()
}

// HasWork reports whether a block at agreed time nowMs would move something without any command in it: a deadline is
// due, or a job or a data set waits that could be placed. The chain goes on making blocks while there is work.
func (s *State) HasWork(nowMs uint64) bool {
	if s.placeable && s.any(key(keyQueue)) {
		return true
	}
	if s.any(key(keyHoldQueue)) || s.any(key(keyLeaving)) || (s.has(key(keyUnpark)) && (s.any(key(keyParked)) || s.any(key(keyShort)))) {
		return true
	}
	due, ok := s.NextDeadline()
	return ok && due <= nowMs
}

// NextDeadline is the earliest agreed time at which a block is needed even if nobody sends a command.
func (s *State) NextDeadline() (ms uint64, ok bool) {
	for k := range s.m.Prefix(key(keyDeadlines)) {
		return timeOf(k, keyDeadlines), true
	}
	return 0, false
}

// Active counts the jobs that are not ended, at most limit of them: each has a deadline.
func (s *State) Active(limit int) int {
	n := 0
	for range s.m.Prefix(key(keyDeadlines)) {
		if n++; n >= limit {
			break
		}
	}
	return n
}

// due collects at most limit keys under prefix whose time is not after nowMs, the earliest first.
func (s *State) due(prefix string, nowMs uint64, limit int) [][]byte {
	var out [][]byte
	for k := range s.m.Prefix(key(prefix)) {
		if timeOf(k, prefix) > nowMs || len(out) == limit {
			break
		}
		out = append(out, k)
	}
	return out
}

func (s *State) any(prefix []byte) bool {
	for range s.m.Prefix(prefix) {
		return true
	}
	return false
}

// sweepAt asks Begin for housekeeping at agreed time ms or later.
func (s *State) sweepAt(ms uint64, kind byte, id []byte) {
	s.mark(key(keySweep, be64(ms), []byte{kind}, id))
}

// sweep forgets what has had its time: expired commands, ended jobs, idle clients.
func (s *State) sweep(at BlockContext) {
	for _, k := range s.due(keyDedupe, at.TimestampMs, beginDedupe) {
		s.del(k)
	}
	for _, k := range s.due(keySweep, at.TimestampMs, beginSweep) {
		s.del(k)
		id := k[len(keySweep)+9:]
		switch k[len(keySweep)+8] {
		case sweepJob:
			s.forget(digest.Digest(id))
		case sweepClient:
			var c clientRecord
			if k := key(keyClients, id); s.get(k, &c) {
				if c.Open == 0 && at.TimestampMs-c.MinuteMs >= minuteMs {
					s.del(k)
				} else {
					s.sweepAt(at.TimestampMs+minuteMs, sweepClient, id)
				}
			}
		}
	}
}

func queueKey(j *Job, prefix string) []byte {
	return key(prefix, []byte{byte(MaxPriority - j.Priority)}, be64(j.Height), be32(j.Index))
}

// enqueue lets the job wait for peers; it is not placed before block height, when the seed cannot be known yet.
func (s *State) enqueue(j *Job, height uint64) {
	s.dequeue(j)
	j.QueueKey = queueKey(j, keyQueue)
	s.m.Set(j.QueueKey, append(j.ID[:len(j.ID):len(j.ID)], be64(height)...))
	s.placeable = true
}

func (s *State) dequeue(j *Job) {
	if len(j.QueueKey) > 0 {
		s.del(j.QueueKey)
		j.QueueKey = nil
	}
}

// park sets aside a job that no node could take even if all were idle, until the nodes change.
func (s *State) park(j *Job) {
	v, _ := s.m.Get(j.QueueKey)
	s.dequeue(j)
	j.QueueKey = queueKey(j, keyParked)
	s.m.Set(j.QueueKey, v)
}

// unpark moves what was set aside back, after a node has changed.
func (s *State) unpark() {
	if !s.has(key(keyUnpark)) {
		return
	}
	parked := s.keysUnder(key(keyParked), beginUnpark)
	for _, e := range parked {
		j, err := s.job(digest.Digest(e.val[:digest.Size]))
		if err != nil {
			s.corrupt(e.key, err)
			return
		}
		s.enqueue(j, binary.BigEndian.Uint64(e.val[digest.Size:]))
		s.saveJob(j)
	}
	short := s.keysUnder(key(keyShort), beginUnpark)
	for _, e := range short {
		s.del(e.key)
		s.m.Set(key(keyHoldQueue, e.key[len(keyShort):]), be64(0))
	}
	if len(parked) < beginUnpark && len(short) < beginUnpark {
		s.del(key(keyUnpark))
	}
}

// placeJobs goes through the queue in its order. It stops at the first job that only lacks free capacity: whoever comes
// after it must not take what it waits for.
func (s *State) placeJobs(at BlockContext) {
	queue := s.keysUnder(key(keyQueue), beginScan+1)
	more := len(queue) > beginScan
	if len(queue) > 0 {
		s.loaded = s.nodes()
	}
	tried := 0
	for _, e := range queue[:min(len(queue), beginScan)] {
		if binary.BigEndian.Uint64(e.val[digest.Size:]) > at.Height {
			more = true
			continue
		}
		if tried == beginPlace {
			more = true
			break
		}
		tried++
		j, err := s.job(digest.Digest(e.val[:digest.Size]))
		if err != nil {
			s.corrupt(e.key, err)
			break
		}
		blocked := s.place(at, j, s.loaded)
		s.saveJob(j)
		if blocked {
			more = false
			break
		}
	}
	s.loaded, s.placeable = nil, more
}

// node loads a node to change it: while jobs are placed, the one that placement looks at.
func (s *State) node(peer sign.PublicKey) (*Node, bool) {
	if i, ok := slices.BinarySearchFunc(s.loaded, peer, func(n *Node, p sign.PublicKey) int { return compareKeys(n.Peer, p) }); ok {
		return s.loaded[i], true
	}
	n := new(Node)
	return n, s.get(key(keyNodes, peer[:]), n)
}

// nodes loads all nodes, by peer.
func (s *State) nodes() []*Node {
	var out []*Node
	for _, e := range s.keysUnder(key(keyNodes), 1<<20) {
		n := new(Node)
		if s.get(e.key, n) {
			out = append(out, n)
		}
	}
	return out
}

// place tries to give a job the peers that it waits for. blocked means that only free capacity is missing.
func (s *State) place(at BlockContext, j *Job, nodes []*Node) (blocked bool) {
	replacing := j.Status == StatusRunning || j.Status == StatusCommitting
	v := View{
		Job: j.ID, Engine: EngineAhead(j.Kind, j.Engine), Policy: j.Policy, CPUClass: j.CPUClass, Memory: j.Memory, NowMs: at.TimestampMs, Nodes: nodes,
		Local: s.locality(j, nodes),
	}
	kept := uint32(0) // peers that stay in the round, or go on into the next
	for i := range j.Executions {
		x := &j.Executions[i]
		v.Attempt += x.Attempt
		stays := x.in(j) && (x.open(j) || x.Observed == ObservedCommitted || x.Observed == ObservedRevealed)
		switch {
		case stays:
			kept++
			v.Busy, v.Owners = append(v.Busy, x.Peer), append(v.Owners, x.Operator)
		case replacing && x.in(j):
			// A seat that was declined stays declined until the next round; a lost one is to move to another.
			v.Busy, v.Owners = append(v.Busy, x.Peer), append(v.Owners, x.Operator)
			if x.Observed == ObservedDeclined {
				kept++
			}
		default:
			v.Failed = append(v.Failed, x.Peer)
		}
	}
	target := j.NextR
	if replacing {
		target = j.RoundR
	}
	v.Seats = target - min(kept, target)
	plan := Place(v, at.Parent)
	if replacing {
		switch {
		case len(plan.Picks) > 0:
			s.assign(at, j, plan.Picks)
			s.emit(EventJobMoved, sign.PublicKey{}, j.ID, "moved", "", j.placementBody())
			j.Replaced += uint32(len(plan.Picks))
			s.dequeue(j)
			j.Waiting, j.Reasons = "", nil
			s.settle(at, j)
		case plan.Eligible == 0:
			j.Unfillable = true
			s.dequeue(j)
			s.settle(at, j)
		default:
			s.wait(j, "waits for a peer in place of a lost one", plan)
			return true
		}
		return false
	}
	if j.Round > 0 {
		// A later round takes what more the network has. After a dissent it needs at least one peer more.
		target = min(target, kept+plan.Eligible)
		if j.Dissented && target <= j.RoundR {
			s.dequeue(j)
			s.fail(at, j, FailNoQuorum, fmt.Sprintf("the peers of round %d disagree, and there is no other to ask", j.Round))
			return false
		}
		target = max(target, min(j.NextR, j.RoundR))
		v.Seats = target - min(kept, target)
	}
	if plan.Eligible < v.Seats {
		s.wait(j, fmt.Sprintf("needs %d peers, and %d nodes could serve", v.Seats, plan.Eligible), plan)
		s.park(j)
		return false
	}
	if uint32(len(plan.Picks)) < v.Seats {
		s.wait(j, fmt.Sprintf("needs %d peers, and %d nodes are free", v.Seats, len(plan.Picks)), plan)
		return true
	}
	s.beginRound(at, j, target)
	s.assign(at, j, plan.Picks[:v.Seats])
	s.emit(EventJobPlaced, sign.PublicKey{}, j.ID, fmt.Sprintf("round-%d", j.Round), "", j.placementBody())
	return false
}

// maxReasons bounds what a job keeps of why it waits.
const maxReasons = 64

func (s *State) wait(j *Job, why string, plan Plan) {
	if j.Status == StatusPending {
		j.Status = StatusQueued
	}
	j.Waiting, j.Reasons = why, plan.Reasons[:min(len(plan.Reasons), maxReasons)]
}

// beginRound opens the next round with target peers. Those who have a result, or still work on it, go on: they commit
// anew, without running again.
func (s *State) beginRound(at BlockContext, j *Job, target uint32) {
	p := &s.law.genesis.Params
	last := j.Round
	j.Round++
	j.RoundR, j.RoundQ = target, j.Q
	if target != j.R {
		j.RoundQ = max(min(j.Q, target), target/2+1)
	}
	j.Status, j.Waiting, j.Reasons = StatusRunning, "", nil
	j.Dissented, j.Unfillable = false, false
	j.PlacedAt, j.PlacedSeed, j.PlacedMs = at.Height, at.Parent, at.TimestampMs
	j.RoundEndMs = satAdd(at.TimestampMs, j.WallMs+setupMs)
	j.CommitEndMs, j.RevealEndMs, j.QueueEndMs = 0, 0, 0
	s.dequeue(j)
	for i := range j.Executions {
		x := &j.Executions[i]
		if x.Round != last || last == 0 {
			continue
		}
		switch x.Observed {
		case ObservedCommitted, ObservedRevealed, ObservedRunning:
			x.Observed = ObservedRunning
		case ObservedAssigned:
		default:
			continue
		}
		x.Round, x.LeaseMs = j.Round, satAdd(at.TimestampMs, p.LeaseMs)
		x.Hash, x.Statement, x.Sig = digest.Digest{}, digest.Digest{}, sign.Signature{}
	}
}

// assign gives the picked peers their leases, in the step that planned them, so that no plan is ever rejected.
func (s *State) assign(at BlockContext, j *Job, picks []Pick) {
	for _, p := range picks {
		x := j.Execution(p.Peer)
		if x == nil {
			j.Executions = append(j.Executions, Execution{Peer: p.Peer, Operator: p.Operator})
			x = &j.Executions[len(j.Executions)-1]
		}
		*x = Execution{
			Peer: p.Peer, Operator: p.Operator, Added: j.Round, Round: j.Round, Attempt: x.Attempt + 1,
			Observed: ObservedAssigned, LeaseMs: satAdd(at.TimestampMs, s.law.genesis.Params.LeaseMs),
		}
		if n, ok := s.node(p.Peer); ok {
			s.take(j, x, n)
		}
		s.mark(key(keyAssigned, p.Peer[:], j.ID[:]))
	}
}

// locality is the share of the job's data sets that each node holds, in permille.
func (s *State) locality(j *Job, nodes []*Node) []uint32 {
	out := make([]uint32, len(nodes))
	if len(j.Manifests) == 0 {
		return out
	}
	for i, n := range nodes {
		held := uint32(0)
		for _, m := range j.Manifests {
			if v, ok := s.m.Get(key(keyHolds, n.Peer[:], m[:])); ok && len(v) == 1 && v[0] == 1 {
				held++
			}
		}
		out[i] = held * 1000 / uint32(len(j.Manifests))
	}
	return out
}
