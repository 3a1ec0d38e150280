package enc

import (
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

func TestDatasetIsHeldByWantedPeers(t *testing.T) {
	c := ready(t, 4, 2)
	c.block()
	c.block()
	m, ok := c.s.Manifest(testList)
	if !ok || len(m.Assigned) != 3 || m.Complete {
		t.Fatalf("%+v", m)
	}
	for i, p := range m.Assigned {
		holds := NewDesk(p).Holds(c.s, 10)
		if len(holds) != 1 || holds[0].Manifest != testList || holds[0].Held || len(holds[0].Blobs) != 2 {
			t.Fatalf("holds %+v", holds)
		}
		c.block(c.cmd(c.key(p), &HoldBlobs{Manifests: []digest.Digest{testList}}))
		if got := c.count(EventHeld); (got == 1) != (i == 2) {
			t.Errorf("after %d attestations: %d times complete", i+1, got)
		}
	}
	// A holder that drains is replaced, and let go only then.
	gone := m.Assigned[0]
	for i, k := range c.nodes {
		if k.Public() == gone {
			reg := c.register(i, 2)
			reg.Draining = true
			c.block(c.cmd(k, reg))
		}
	}
	c.block()
	c.block()
	m, _ = c.s.Manifest(testList)
	for _, p := range m.Assigned {
		if p == gone {
			t.Error("the draining node is still to hold the bytes")
		}
	}
	if len(m.Assigned) != 3 || m.Complete || len(NewDesk(gone).Holds(c.s, 10)) != 0 {
		t.Errorf("%+v", m)
	}
	c.block()
	if c.s.HasWork(c.at.TimestampMs) {
		t.Error("busy with nothing to do")
	}
}

func TestSmallNetworkHoldsWhatItCanAndMoreLater(t *testing.T) {
	c := newChain(t, 2, nil)
	c.block(c.cmd(c.nodes[0], c.register(0, 1)),
		c.cmd(c.client, &PublishDataset{Name: "users", Manifest: testList, Blobs: sortedBlobs(testList)}))
	c.block()
	c.block()
	c.block(c.cmd(c.nodes[0], &HoldBlobs{Manifests: []digest.Digest{testList}}))
	if c.count(EventHeld) != 1 {
		t.Error("one peer of one was not enough")
	}
	c.block(c.cmd(c.nodes[1], c.register(1, 1)))
	c.block()
	if m, _ := c.s.Manifest(testList); len(m.Assigned) != 2 {
		t.Errorf("%+v", m)
	}
}

func TestDatasetNameBelongsToItsFirstPublisher(t *testing.T) {
	c := ready(t, 3, 1)
	other := digest.Of([]byte("other manifest"))
	c.block(c.cmd(testKey("client", 1), &PublishDataset{Name: "users", Manifest: other, Blobs: sortedBlobs(other)}))
	c.refused(1)
	if !strings.Contains(c.refusal().Reason, c.client.Public().String()) {
		t.Errorf("the reason does not name the owner: %q", c.refusal().Reason)
	}
	c.block(c.cmd(c.client, &PublishDataset{Name: "users", Manifest: testList, Holders: 3, Blobs: sortedBlobs(testList, testBlob)}))
	if e := c.events[len(c.events)-1]; e.Kind != EventDataset || e.Decision != "unchanged" {
		t.Errorf("event %+v", e)
	}
	c.block(c.cmd(c.client, &PublishDataset{Name: "users", Manifest: other, Blobs: sortedBlobs(other)}))
	d, ok := c.s.Dataset("users", 0)
	if !ok || d.Version != 2 || d.Manifest != other {
		t.Errorf("%+v", d)
	}
	if old, ok := c.s.Dataset("users", 1); !ok || old.Manifest != testList {
		t.Errorf("%+v", old)
	}
	if l := c.s.Datasets("", 10); len(l) != 1 || l[0].Name != "users" {
		t.Errorf("%+v", l)
	}
}

func TestSubmitIsRefusedWithReason(t *testing.T) {
	unknown := digest.Of([]byte("nowhere"))
	for name, x := range map[string]struct {
		edit func(*SubmitJob)
		want string
	}{
		"engine":        {func(p *SubmitJob) { p.Work.Engine = unknown }, "not in force"},
		"unknown input": {func(p *SubmitJob) { p.Work.Inputs[0].Digest = unknown }, "belongs to no data set"},
		"input size":    {func(p *SubmitJob) { p.Work.Inputs[0].Bytes = 11 }, "11 bytes, and has 10"},
	} {
		c := ready(t, 3, 1)
		p := testJob(1, 3, 2)
		x.edit(p)
		c.block(c.cmd(c.client, p))
		c.refused(1)
		if !strings.Contains(c.refusal().Reason, x.want) {
			t.Errorf("%s: %q", name, c.refusal().Reason)
		}
	}
	for name, edit := range map[string]func(*SubmitJob){
		"kind": func(p *SubmitJob) { p.Work.Kind = "wasm" }, "q": func(p *SubmitJob) { p.Q = 1 }, "r": func(p *SubmitJob) { p.R, p.Q = 8, 8 },
		"no r": func(p *SubmitJob) { p.R, p.Q = 0, 0 }, "policy": func(p *SubmitJob) { p.Work.Policy = digest.Digest{} },
		"path": func(p *SubmitJob) { p.Work.Inputs[0].Path = "../x" }, "memory": func(p *SubmitJob) { p.Work.Limits.MemoryBytes = 0 },
		"wall":     func(p *SubmitJob) { p.Work.Limits.WallMs = MaxWorkMs + 1 },
		"env":      func(p *SubmitJob) { p.Work.Env = []string{"B=1", "A=1"} },
		"twice":    func(p *SubmitJob) { p.Work.Inputs = append(p.Work.Inputs, p.Work.Inputs[0]) },
		"priority": func(p *SubmitJob) { p.Priority = 10 },
		"file under file": func(p *SubmitJob) {
			in := p.Work.Inputs[0]
			in.Path += "/x"
			p.Work.Inputs = append(p.Work.Inputs, in)
		},
	} {
		p := testJob(1, 3, 2)
		edit(p)
		if err := p.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCommandsAreRefused(t *testing.T) {
	c := ready(t, 3, 1)
	good := c.cmd(c.client, testJob(1, 3, 2))
	c.block(good)
	c.refused(0)
	c.block(good)
	c.refused(1) // a replay
	if c.refusal().Reason != "replayed: the chain has this command already" {
		t.Errorf("%q", c.refusal().Reason)
	}
	resign := func(edit func(*CommandBody)) *Command {
		b := c.cmd(c.client, testJob(2, 3, 2)).Body
		edit(&b)
		cmd := b.Sign(c.client)
		return &cmd
	}
	stolen := c.cmd(c.client, testJob(3, 3, 2))
	stolen.Signer = testKey("client", 1).Public()
	for name, cmd := range map[string]*Command{
		"expired":   resign(func(b *CommandBody) { b.ExpiresMs = c.at.TimestampMs }),
		"too far":   resign(func(b *CommandBody) { b.ExpiresMs = c.at.TimestampMs + 2*MaxExpiryMs }),
		"chain":     resign(func(b *CommandBody) { b.ChainID = testBlob }),
		"kind":      resign(func(b *CommandBody) { b.Kind = "reboot" }),
		"payload":   resign(func(b *CommandBody) { b.Payload = append(b.Payload, 0) }),
		"signature": stolen,
	} {
		if err := CheckCommand(cmd, c.id, c.at.TimestampMs); err == nil {
			t.Errorf("%s: CheckCommand accepts it", name)
		}
		c.block(cmd)
		if c.refused(1); !c.refusal().Actor.IsZero() {
			t.Errorf("%s: an actor is named who did not sign this for this chain", name)
		}
	}
	c.block(c.cmd(c.client, c.register(0, 1)), c.cmd(c.nodes[0], &RegisterNode{Operator: c.client.Public()}))
	c.refused(2)
	if e, err := c.s.ApplyTx(c.at, []byte("garbage")); err != nil || len(e) != 1 || e[0].Kind != EventRefused {
		t.Errorf("%v %v", e, err)
	}
}

func TestClientRateAndQuota(t *testing.T) {
	c := newChain(t, 1, func(g *Genesis) { g.Params.ClientPerMinute, g.Params.ClientOpenJobs = 3, 1 })
	job := func(salt byte) *Command {
		p := testJob(salt, 1, 1)
		p.Work.Inputs = nil
		return c.cmd(c.client, p)
	}
	c.block(job(1), job(2))
	c.refused(1)
	c.block(job(3), job(4))
	c.refused(2)
	if !strings.HasPrefix(c.refusal().Reason, "rate:") {
		t.Errorf("%q", c.refusal().Reason)
	}
	c.blockAfter(60_000, job(5))
	if c.refused(1); !strings.HasPrefix(c.refusal().Reason, "quota:") {
		t.Errorf("%+v", c.events)
	}
}

func TestListedNetworkAdmitsOnlyItsClients(t *testing.T) {
	c := newChain(t, 1, func(g *Genesis) {
		g.OpenClients, g.Clients = false, []sign.PublicKey{testKey("client", 0).Public()}
	})
	p := &PublishDataset{Name: "a", Manifest: testList, Blobs: sortedBlobs(testList)}
	c.block(c.cmd(testKey("client", 1), p))
	c.refused(1)
	c.block(c.cmd(c.client, p))
	c.refused(0)
}

func TestDedupeIsForgottenOnceItsCommandHasExpired(t *testing.T) {
	c := ready(t, 1, 1)
	if !c.s.any(key(keyDedupe)) {
		t.Fatal("nothing is remembered")
	}
	c.blockAfter(600_000)
	if c.s.any(key(keyDedupe)) {
		t.Error("still remembered after expiry")
	}
}

func TestJobsByPrefix(t *testing.T) {
	c := ready(t, 1, 1)
	for i := range byte(60) {
		c.block(c.cmd(c.client, testJob(i, 1, 1)))
	}
	jobs, _ := c.s.ListJobs(100, nil, JobFilter{Client: c.client.Public()})
	if len(jobs) != 60 || jobs[0].Height < jobs[59].Height {
		t.Fatalf("%d jobs", len(jobs))
	}
	for _, j := range jobs {
		for n := range 5 {
			prefix := j.ID.String()[:n]
			want := 0
			for _, k := range jobs {
				if strings.HasPrefix(k.ID.String(), prefix) {
					want++
				}
			}
			if got := c.s.JobsByPrefix(prefix, 100); len(got) != want {
				t.Fatalf("prefix %q: %d jobs, want %d", prefix, len(got), want)
			}
		}
	}
	if c.s.JobsByPrefix("xyz", 10) != nil {
		t.Error("a prefix that is not hexadecimal finds something")
	}
}
