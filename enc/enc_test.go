package enc

import (
	"fmt"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// chain drives a state as a ledger does: every step is a block.
type chain struct {
	t      testing.TB
	id     digest.Digest
	s      *State
	at     BlockContext
	nodes  []sign.PrivateKey
	client sign.PrivateKey
	nonce  uint64
	events []receipt.Event // of the last block

	validators []consensus.Validator // of genesis
	log        []receipt.Event       // of all blocks
}

var (
	testEngine = digest.Of([]byte("engine"))
	testPolicy = digest.Of([]byte("policy"))
	testBlob   = digest.Of([]byte("blob"))
	testList   = digest.Of([]byte("manifest"))
	testImage  = digest.Of([]byte("image"))
)

func testKey(kind string, i int) sign.PrivateKey {
	d := digest.Sum("test", fmt.Appendf(nil, "%s %d", kind, i))
	return sign.FromSeed(d[:])
}

func newChain(t testing.TB, n int, edit func(*Genesis)) *chain {
	t.Helper()
	return newChainOf(t, n, testValidators(0, 4), edit)
}

func newChainOf(t testing.TB, n int, validators []consensus.Validator, edit func(*Genesis)) *chain {
	t.Helper()
	c := &chain{t: t, id: digest.Of([]byte("chain")), client: testKey("client", 0), validators: validators}
	g := Genesis{OpenClients: true, SQLEngine: testEngine, SQLBytes: 1000, Params: DefaultParams()}
	for i := range n {
		k := testKey("node", i)
		c.nodes = append(c.nodes, k)
		g.Nodes = append(g.Nodes, GenesisNode{Node: k.Public(), Operator: testKey("operator", i).Public()})
	}
	if edit != nil {
		edit(&g)
	}
	s, err := NewState(c.id, g, c.validators)
	if err != nil {
		t.Fatal(err)
	}
	c.s = s
	c.at = BlockContext{Height: 0, TimestampMs: 1_000_000, Parent: digest.Of([]byte("genesis"))}
	return c
}

// ready registers all nodes with so many slots and publishes a data set.
func ready(t testing.TB, n, slots int) *chain {
	t.Helper()
	c := newChain(t, n, nil)
	var cmds []*Command
	for i, k := range c.nodes {
		cmds = append(cmds, c.cmd(k, c.register(i, slots)))
	}
	cmds = append(cmds, c.cmd(c.client, &PublishDataset{
		Name: "users", Manifest: testList, Holders: 3, Rows: 5, Blobs: sortedBlobs(testList, testBlob),
	}))
	c.block(cmds...)
	c.refused(0)
	return c
}

// imaged is ready with an image that is held.
func imaged(t testing.TB, n, slots int) *chain {
	t.Helper()
	c := ready(t, n, slots)
	c.block(c.cmd(c.client, &PublishImage{Name: "base", Image: testImage, Bytes: 10, Holders: 2}))
	c.refused(0)
	c.block(c.cmd(c.nodes[0], &HoldBlobs{Manifests: []digest.Digest{testImage}}))
	c.refused(0)
	return c
}

func sortedBlobs(ds ...digest.Digest) []BlobRef {
	if len(ds) == 2 && ds[0].Compare(ds[1]) > 0 {
		ds[0], ds[1] = ds[1], ds[0]
	}
	var out []BlobRef
	for _, d := range ds {
		out = append(out, BlobRef{Digest: d, Bytes: 10})
	}
	return out
}

func (c *chain) register(i, slots int) *RegisterNode {
	return &RegisterNode{
		Operator: testKey("operator", i).Public(), Engines: []digest.Digest{testEngine}, Policies: []digest.Digest{testPolicy},
		CPUClass: "x86-64-v2", Slots: uint32(slots), Memory: 1 << 30, Labels: []string{},
	}
}

func (c *chain) cmd(k sign.PrivateKey, p Payload) *Command {
	c.t.Helper()
	c.nonce++
	var nonce [16]byte
	copy(nonce[:], be64(c.nonce))
	b, err := NewBody(c.id, c.at.TimestampMs+600_000, nonce, p)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := b.Sign(k)
	return &cmd
}

func (c *chain) block(cmds ...*Command) []receipt.Event { return c.blockAfter(10, cmds...) }

func (c *chain) blockAfter(ms uint64, cmds ...*Command) []receipt.Event {
	c.t.Helper()
	c.at = BlockContext{
		Height: c.at.Height + 1, TimestampMs: c.at.TimestampMs + ms,
		Parent: digest.Sum("test-block", be64(c.at.Height)),
	}
	c.events = nil
	add := func(e []receipt.Event, err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		c.events = append(c.events, e...)
	}
	add(c.s.Begin(c.at))
	for _, cmd := range cmds {
		add(c.s.ApplyTx(c.at, cmd.Encode()))
	}
	c.log = append(c.log, c.events...)
	return c.events
}

func (c *chain) count(kind string) int {
	n := 0
	for _, e := range c.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// refused asserts how many commands the last block refused.
func (c *chain) refused(want int) {
	c.t.Helper()
	if n := c.count(EventRefused); n != want {
		c.t.Fatalf("%d commands refused, want %d: %+v", n, want, c.events)
	}
}

// refusal is the last refused command of the last block.
func (c *chain) refusal() receipt.Event {
	for i := len(c.events) - 1; i >= 0; i-- {
		if c.events[i].Kind == EventRefused {
			return c.events[i]
		}
	}
	c.t.Fatal("nothing was refused")
	return receipt.Event{}
}

func testWork() receipt.Work {
	return receipt.Work{
		Kind: KindSQL, Engine: testEngine, Policy: testPolicy, CPUClass: "x86-64-v2", Stdin: []byte("SELECT 1"),
		Inputs: []receipt.Input{{Path: "users/0.csv", Digest: testBlob, Bytes: 10, Origin: "dataset:users@1"}},
		Limits: receipt.Limits{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, Files: 10, Processes: 2, CPUMs: 1000, WallMs: 5000},
	}
}

// nativeWork runs a program in testImage over a data set's file.
func nativeWork() receipt.Work {
	w := testWork()
	w.Kind, w.Engine, w.Args, w.Workdir, w.Outs = KindNative, testImage, []string{"sort", "/in/users/0.csv"}, "/work", []string{"logs", "result"}
	w.Limits.Calls, w.Limits.VirtualMs, w.Limits.Spawned = 1000, 60_000, 10
	return w
}

func nativeJob(salt byte, r, q uint32) *SubmitJob {
	return &SubmitJob{Work: nativeWork(), Salt: [16]byte{salt}, R: r, Q: q}
}

func testJob(salt byte, r, q uint32) *SubmitJob {
	return &SubmitJob{Work: testWork(), Salt: [16]byte{salt}, R: r, Q: q}
}

func (c *chain) id4(p *SubmitJob) digest.Digest {
	return JobID(p.Work.Digest(), c.client.Public(), p.Salt)
}

// placed submits a job and makes blocks until its first round runs.
func (c *chain) placed(p *SubmitJob) digest.Digest {
	c.t.Helper()
	c.block(c.cmd(c.client, p))
	c.refused(0)
	c.block()
	if j := c.job(c.id4(p)); j.Status != StatusPending {
		c.t.Fatalf("status %s in the block after the order, want pending", j.Status)
	}
	c.block()
	if j := c.job(c.id4(p)); j.Status != StatusRunning {
		c.t.Fatalf("status %s two blocks after the order, want running: %s %v", j.Status, j.Waiting, j.Reasons)
	}
	return c.id4(p)
}

func (c *chain) job(id digest.Digest) *Job {
	c.t.Helper()
	j, ok := c.s.Job(id)
	if !ok {
		c.t.Fatalf("job %s is not in the state", id.Short())
	}
	return j
}

func (c *chain) key(peer sign.PublicKey) sign.PrivateKey {
	for _, k := range c.nodes {
		if k.Public() == peer {
			return k
		}
	}
	c.t.Fatalf("no node %s", peer.Short())
	return sign.PrivateKey{}
}

func outcome(answer string) receipt.Outcome {
	return receipt.Outcome{Outputs: []receipt.Output{
		{Name: receipt.Stderr, Digest: digest.Of(nil)}, {Name: receipt.Stdout, Digest: digest.Of([]byte(answer)), Bytes: uint64(len(answer))},
	}}
}

func (c *chain) statement(j *Job, answer string) receipt.Statement {
	w, ok := c.s.Work(j.ID)
	if !ok {
		c.t.Fatalf("job %s has no work", j.ID.Short())
	}
	o := outcome(answer)
	return receipt.NewStatement(c.id, j.ID, j.Round, w, &o, digest.Of([]byte(answer)))
}

func (c *chain) commitFor(j *Job, peer sign.PublicKey, answer string) *Command {
	c.t.Helper()
	return c.cmd(c.key(peer), &Commit{Job: j.ID, Round: j.Round, Hash: CommitHash(j.ID, j.Round, peer, c.statement(j, answer).Digest(), [32]byte{9})})
}

func (c *chain) revealFor(j *Job, peer sign.PublicKey, answer string) *Command {
	c.t.Helper()
	k := c.key(peer)
	return c.cmd(k, &Reveal{Job: j.ID, Round: j.Round, Outcome: outcome(answer), Keyed: digest.Of([]byte(answer)), Salt: [32]byte{9},
		Sig: k.Sign(c.statement(j, answer).SigningBytes())})
}

// part lists the peers of the current round.
func part(j *Job) []sign.PublicKey {
	var out []sign.PublicKey
	for i := range j.Executions {
		if x := &j.Executions[i]; x.in(j) && x.Observed != ObservedLost && x.Observed != ObservedDeclined {
			out = append(out, x.Peer)
		}
	}
	return out
}

// answer lets the peers of the round commit, then reveal, an answer each.
func (c *chain) answer(id digest.Digest, answers ...string) *Job {
	c.t.Helper()
	j := c.job(id)
	peers := part(j)
	if len(peers) != len(answers) {
		c.t.Fatalf("round %d has %d peers, the test has %d answers", j.Round, len(peers), len(answers))
	}
	var cmds []*Command
	for i, p := range peers {
		cmds = append(cmds, c.commitFor(j, p, answers[i]))
	}
	c.block(cmds...)
	c.refused(0)
	cmds = nil
	for i, p := range peers {
		cmds = append(cmds, c.revealFor(j, p, answers[i]))
	}
	c.block(cmds...)
	return c.job(id)
}

func (c *chain) seals() []receipt.Seal {
	var out []receipt.Seal
	for _, e := range c.log {
		if e.Kind == receipt.KindJobSealed {
			var v receipt.Seal
			if err := canon.Unmarshal(e.Body, &v); err != nil {
				c.t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	return out
}
