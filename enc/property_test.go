package enc

import (
	"bytes"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"testing"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// invariants checks what must hold after every block.
func invariants(t *testing.T, s *State) {
	t.Helper()
	slots, memory := map[sign.PublicKey]uint32{}, map[sign.PublicKey]uint64{}
	open := map[sign.PublicKey]uint32{}
	jobs, deadlines, queued, assigned := 0, 0, 0, 0
	for k := range s.m.Prefix(key(keyJobs)) {
		j, ok := s.Job(digest.Digest(k[len(keyJobs):]))
		if !ok {
			t.Fatal("a job does not decode")
		}
		jobs++
		if j.Status.Final() != (j.EndedMs != 0) || j.Status.Final() != (j.WakeMs == 0) {
			t.Fatalf("job %s: status %s, ended %d, wakes at %d", j.ID.Short(), j.Status, j.EndedMs, j.WakeMs)
		}
		if !j.Status.Final() {
			open[j.Client]++
			if !s.has(key(keyDeadlines, be64(j.WakeMs), j.ID[:])) {
				t.Fatalf("job %s (%s) has no deadline", j.ID.Short(), j.Status)
			}
		}
		if (j.Status == StatusPending || j.Status == StatusQueued) && len(j.QueueKey) == 0 {
			t.Fatalf("job %s waits, but for nothing", j.ID.Short())
		}
		if len(j.QueueKey) > 0 {
			queued++
			if v, ok := s.m.Get(j.QueueKey); !ok || !bytes.HasPrefix(v, j.ID[:]) {
				t.Fatalf("job %s is not where its queue key says", j.ID.Short())
			}
		}
		if (j.Status == StatusSealed) != (len(j.Outcome) == 1) || (j.Status == StatusFailed) != (j.Failure != "") {
			t.Fatalf("job %s: status %s, %d outcomes, failure %q", j.ID.Short(), j.Status, len(j.Outcome), j.Failure)
		}
		if j.Round > 0 && 2*j.RoundQ <= j.RoundR {
			t.Fatalf("job %s: q = %d of r = %d", j.ID.Short(), j.RoundQ, j.RoundR)
		}
		owners := map[sign.PublicKey]int{}
		in := uint32(0)
		for i := range j.Executions {
			x := &j.Executions[i]
			if x.HoldsSlot {
				slots[x.Peer]++
				memory[x.Peer] += j.Memory
				if j.Status.Final() || !(x.Observed == ObservedAssigned || x.Observed == ObservedRunning) {
					t.Fatalf("job %s (%s): an execution that is %s holds capacity", j.ID.Short(), j.Status, x.Observed)
				}
			}
			if x.in(j) && x.Observed != ObservedLost && x.Observed != ObservedDeclined {
				in++
				if owners[x.Operator]++; owners[x.Operator] > 1 {
					t.Fatalf("job %s: an operator takes part twice", j.ID.Short())
				}
			}
			if s.has(key(keyAssigned, x.Peer[:], j.ID[:])) {
				assigned++
				if j.Status.Final() {
					t.Fatalf("job %s has ended and is still assigned", j.ID.Short())
				}
			}
		}
		if in > j.RoundR && j.Round > 0 {
			t.Fatalf("job %s: %d peers in a round of %d", j.ID.Short(), in, j.RoundR)
		}
	}
	for range s.m.Prefix(key(keyAssigned)) {
		assigned--
	}
	for range s.m.Prefix(key(keyQueue)) {
		queued--
	}
	for range s.m.Prefix(key(keyParked)) {
		queued--
	}
	for k := range s.m.Prefix(key(keyDeadlines)) {
		deadlines++
		if j, ok := s.Job(digest.Digest(k[len(keyDeadlines)+8:])); !ok || j.WakeMs != timeOf(k, keyDeadlines) {
			t.Fatal("a deadline of no job, or of another time")
		}
	}
	total := uint32(0)
	for _, n := range open {
		total += n
	}
	if uint32(deadlines) != total || assigned != 0 || queued != 0 {
		t.Fatalf("%d deadlines for %d unfinished jobs; %d assignments and %d queue entries astray", deadlines, total, assigned, queued)
	}
	for _, n := range s.Nodes() {
		if n.UsedSlots != slots[n.Peer] || n.UsedMemory != memory[n.Peer] {
			t.Fatalf("node %s counts %d slots and %d bytes, its executions %d and %d", n.Peer.Short(), n.UsedSlots, n.UsedMemory, slots[n.Peer], memory[n.Peer])
		}
	}
	for k := range s.m.Prefix(key(keyClients)) {
		who := sign.PublicKey(k[len(keyClients):])
		if c, _ := read[clientRecord](s, k); c.Open != open[who] {
			t.Fatalf("client %s counts %d open jobs, has %d", who.Short(), c.Open, open[who])
		}
	}
	catalogInvariants(t, s)
	listed, cursor := 0, []byte(nil)
	for {
		page, next := s.ListJobs(7, cursor, JobFilter{})
		listed += len(page)
		if next == nil {
			break
		}
		cursor = next
	}
	if listed != jobs {
		t.Fatalf("%d jobs are listed, there are %d", listed, jobs)
	}
}

// randomCommand draws a command that fits the state more often than not.
func (c *chain) randomCommand(r *rand.Rand) []byte {
	c.t.Helper()
	var ids []digest.Digest
	for k := range c.s.m.Prefix(key(keyJobs)) {
		ids = append(ids, digest.Digest(k[len(keyJobs):]))
	}
	n := r.Intn(len(c.nodes))
	node := c.nodes[n]
	if r.Intn(8) == 0 || len(ids) == 0 {
		q := uint32(1 + r.Intn(2) + r.Intn(3)/2)
		p := testJob(byte(r.Intn(256)), min(2*q-1, 7), q)
		if r.Intn(3) == 0 {
			p.Work = nativeWork()
		}
		p.Priority = uint32(r.Intn(3))
		return c.cmd(testKey("client", r.Intn(3)), p).Encode()
	}
	j := c.job(ids[r.Intn(len(ids))])
	if a := NewDesk(node.Public()).Assignments(c.s); len(a) > 0 && r.Intn(8) > 0 {
		j = c.job(a[r.Intn(len(a))].Job)
	}
	if len(j.Executions) > 0 && r.Intn(10) > 0 {
		node = c.key(j.Executions[r.Intn(len(j.Executions))].Peer)
	}
	round := max(j.Round, 1)
	answer := []string{"42", "42", "42", "a", "b"}[r.Intn(5)]
	switch r.Intn(14) {
	case 0:
		reg := c.register(n, r.Intn(12))
		reg.Draining = r.Intn(12) == 0
		return c.cmd(c.nodes[n], reg).Encode()
	case 1, 2:
		return c.cmd(node, &RenewLeases{Executions: []ExecutionRef{{Job: j.ID, Round: round}}}).Encode()
	case 3:
		return c.cmd(node, &Decline{Job: j.ID, Round: round, Reason: DeclineInputs}).Encode()
	case 4:
		if r.Intn(3) == 0 {
			return c.cmd(testKey("client", r.Intn(3)), &CancelJob{Job: j.ID}).Encode()
		}
		return c.cmd(node, &HoldBlobs{Manifests: [][]digest.Digest{{testList}, {testImage}, {testBlob}}[r.Intn(3)]}).Encode()
	case 5:
		j.Round = round
		b := c.commitFor(j, node.Public(), answer).Encode()
		b[r.Intn(len(b))] ^= byte(1 + r.Intn(255))
		return b
	case 6:
		b := make([]byte, r.Intn(100))
		r.Read(b)
		return b
	case 7:
		return c.randomName(r).Encode()
	case 8, 9, 10:
		if h := c.job(j.ID); h.Round > 0 {
			return c.commitFor(h, node.Public(), answer).Encode()
		}
		fallthrough
	default:
		if j.Round == 0 {
			return c.cmd(node, &HoldBlobs{Manifests: []digest.Digest{testList, testBlob}[:1]}).Encode()
		}
		// Open the commit with whichever answer it holds.
		for _, a := range []string{"42", "a", "b"} {
			if x := j.Execution(node.Public()); x != nil && x.Hash == CommitHash(j.ID, j.Round, node.Public(), c.statement(j, a).Digest(), [32]byte{9}) {
				answer = a
			}
		}
		return c.revealFor(j, node.Public(), answer).Encode()
	}
}

// run executes a block on a state.
func run(t *testing.T, s *State, at BlockContext, txs [][]byte) []receipt.Event {
	t.Helper()
	events, err := s.Begin(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, tx := range txs {
		e, err := s.ApplyTx(at, tx)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e...)
	}
	return events
}

func TestRandomCommandsKeepInvariantsAndReplicasAgree(t *testing.T) {
	seeds := 8
	if testing.Short() {
		seeds = 4
	}
	ends := map[Status]int{}
	for seed := range int64(seeds) {
		r := rand.New(rand.NewSource(seed))
		c := imaged(t, 3+r.Intn(6), 2)
		stored := map[string][]byte{}
		for k, v := range c.s.Leaves() {
			stored[string(k)] = v
		}
		other := reload(t, c.id, stored, r)
		verdicts := map[digest.Digest]string{}
		for range 120 {
			step := uint64(1 + r.Intn(300))
			if r.Intn(12) == 0 {
				step = uint64(r.Intn(40_000))
			}
			at := BlockContext{Height: c.at.Height + 1, TimestampMs: c.at.TimestampMs + step, Parent: digest.Sum("b", be64(c.at.Height), be64(uint64(seed)))}
			var txs [][]byte
			for range r.Intn(8) {
				txs = append(txs, c.randomCommand(r))
			}
			if len(txs) > 0 && r.Intn(4) == 0 {
				txs = append(txs, txs[0]) // a replay
			}
			want := run(t, c.s, at, txs)
			c.at = at

			// The other replica executes on forks, throws some away, and is reloaded from its leaves now and then.
			other.Root()
			_ = run(t, other.Fork(), at, txs[:len(txs)/2])
			next := other.Fork()
			got := run(t, next, at, txs)
			for k, v := range next.Changes() {
				if v == nil {
					delete(stored, string(k))
				} else {
					stored[string(k)] = v
				}
			}
			other = next
			if r.Intn(6) == 0 {
				other = reload(t, c.id, stored, r)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: events differ at height %d:\n%+v\n%+v", seed, at.Height, got, want)
			}
			if other.Root() != c.s.Root() {
				t.Fatalf("seed %d: state roots differ at height %d", seed, at.Height)
			}
			if r.Intn(3) == 0 {
				invariants(t, c.s)
			}
			verdict(t, verdicts, want)
		}
		// Left alone, every job ends.
		for range 400 {
			due, ok := c.s.NextDeadline()
			if !ok {
				break
			}
			at := BlockContext{Height: c.at.Height + 1, TimestampMs: max(due, c.at.TimestampMs+1), Parent: digest.Sum("b", be64(c.at.Height))}
			verdict(t, verdicts, run(t, c.s, at, nil))
			c.at = at
		}
		invariants(t, c.s)
		for k := range c.s.m.Prefix(key(keyJobs)) {
			j, _ := c.s.Job(digest.Digest(k[len(keyJobs):]))
			if !j.Status.Final() {
				t.Fatalf("seed %d: job %s hangs as %s", seed, j.ID.Short(), j.Status)
			}
			ends[j.Status]++
		}
	}
	t.Log(ends)
	for _, s := range []Status{StatusSealed, StatusFailed, StatusCancelled, StatusExpired} {
		if ends[s] == 0 && !testing.Short() {
			t.Errorf("no job ended as %s: the commands drawn do not reach it", s)
		}
	}
}

// verdict fails if a job gets a second verdict.
func verdict(t *testing.T, have map[digest.Digest]string, events []receipt.Event) {
	t.Helper()
	for _, e := range events {
		switch e.Kind {
		case receipt.KindJobSealed, EventJobFailed, EventJobCancelled, EventJobExpired:
			if old, ok := have[e.Subject]; ok {
				t.Fatalf("job %s: %s after %s", e.Subject.Short(), e.Kind, old)
			}
			have[e.Subject] = e.Kind
			if e.Kind == receipt.KindJobSealed {
				fairSeal(t, &e)
			}
		}
	}
}

// fairSeal fails unless at least q > r/2 peers of distinct operators, each assigned to the job, agreed on the seal.
func fairSeal(t *testing.T, e *receipt.Event) {
	t.Helper()
	var s receipt.Seal
	if err := canon.Unmarshal(e.Body, &s); err != nil {
		t.Fatal(err)
	}
	operator, agreed := map[sign.PublicKey]sign.PublicKey{}, map[sign.PublicKey]bool{}
	for _, a := range s.Placement.Peers {
		if _, twice := operator[a.Peer]; twice || a.Operator.IsZero() {
			t.Fatalf("job %s: peer %s is placed twice, or has no operator", s.Job.Short(), a.Peer.Short())
		}
		operator[a.Peer] = a.Operator
	}
	for _, k := range s.Agreeing {
		o, ok := operator[k]
		if !ok || agreed[o] {
			t.Fatalf("job %s: %s agreed, but was not assigned, or its operator counts twice", s.Job.Short(), k.Short())
		}
		agreed[o] = true
	}
	if p := s.Placement; 2*p.Q <= p.R || uint32(len(agreed)) < p.Q || e.Subject != s.Job {
		t.Fatalf("job %s is sealed by %d operators; q = %d of r = %d", s.Job.Short(), len(agreed), p.Q, p.R)
	}
}

// reload builds a state from its leaves, in a random order.
func reload(t *testing.T, chainID digest.Digest, stored map[string][]byte, r *rand.Rand) *State {
	t.Helper()
	keys := slices.Sorted(maps.Keys(stored))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	s, err := Load(chainID, func(yield func(k, v []byte) bool) {
		for _, k := range keys {
			if !yield([]byte(k), stored[k]) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
