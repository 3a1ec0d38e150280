package enc

import (
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func TestProgramInAnImageIsAgreedOn(t *testing.T) {
	c := imaged(t, 4, 1)
	p := nativeJob(1, 3, 2)
	id := c.placed(p)
	if j := c.job(id); j.Kind != KindNative || j.Engine != testImage || !slices.Contains(j.Manifests, testImage) {
		t.Errorf("%+v", j)
	}
	j := c.answer(id, "42", "42", "42")
	if j.Status != StatusSealed || len(c.seals()) != 1 {
		t.Fatalf("status %s", j.Status)
	}
	w, ok := c.s.Work(id)
	if want := nativeWork(); !ok || w.Digest() != want.Digest() {
		t.Errorf("work %+v", w)
	}
	if l, _ := c.s.ListJobs(10, nil, JobFilter{Kind: KindNative}); len(l) != 1 {
		t.Errorf("%d jobs of the kind", len(l))
	}
	if l, _ := c.s.ListJobs(10, nil, JobFilter{Kind: KindSQL}); len(l) != 0 {
		t.Errorf("%d jobs of the other kind", len(l))
	}
}

// TestImageNeedNotBeAtHand: no node registers images, and who holds one is preferred.
func TestImageNeedNotBeAtHand(t *testing.T) {
	c := imaged(t, 3, 4)
	for salt := range byte(4) {
		j := c.job(c.placed(nativeJob(salt, 1, 1)))
		want := []digest.Digest{testImage, testList}
		slices.SortFunc(want, digest.Digest.Compare)
		if !slices.Equal(j.Manifests, want) {
			t.Fatalf("manifests %v", j.Manifests)
		}
	}
	w := nativeWork()
	if e, ok := c.s.EngineOf(&w); !ok || e != (BlobRef{Digest: testImage, Bytes: 10}) {
		t.Errorf("%+v, %v", e, ok)
	}
	w = testWork()
	if e, ok := c.s.EngineOf(&w); !ok || e.Digest != testEngine {
		t.Errorf("%+v, %v", e, ok)
	}
}

func TestNativeSubmitIsRefusedWithReason(t *testing.T) {
	unknown := digest.Of([]byte("nowhere"))
	for name, x := range map[string]struct {
		edit func(*chain, *SubmitJob)
		want string
	}{
		"image":        {func(_ *chain, p *SubmitJob) { p.Work.Engine = unknown }, "is not published on this chain"},
		"SQL engine":   {func(_ *chain, p *SubmitJob) { p.Work.Engine = testEngine }, "is not published on this chain"},
		"a data set":   {func(_ *chain, p *SubmitJob) { p.Work.Engine = testList }, "is not published on this chain"},
		"policy":       {func(_ *chain, p *SubmitJob) { p.Work.Policy = unknown }, "offered by no executor"},
		"input":        {func(_ *chain, p *SubmitJob) { p.Work.Inputs[0].Digest = unknown }, "belongs to no data set"},
		"image as SQL": {func(_ *chain, p *SubmitJob) { p.Work = testWork(); p.Work.Engine = testImage }, "not in force"},
		"withdrawn": {func(c *chain, _ *SubmitJob) {
			c.block(c.cmd(c.client, &Withdraw{Catalog: CatalogImages, Name: "base", Version: 1}))
		}, "is not published on this chain"},
		"not held": {func(c *chain, p *SubmitJob) {
			p.Work.Engine = unknown
			c.block(c.cmd(c.client, &PublishImage{Name: "new", Image: unknown, Bytes: 10}))
		}, "held by no peer yet"},
		"nobody offers any more": {func(c *chain, _ *SubmitJob) {
			for i, k := range c.nodes {
				reg := c.register(i, 1)
				reg.Policies = []digest.Digest{unknown}
				c.block(c.cmd(k, reg))
			}
		}, "offered by no executor"},
	} {
		c := imaged(t, 3, 1)
		p := nativeJob(1, 3, 2)
		x.edit(c, p)
		c.block(c.cmd(c.client, p))
		if c.refused(1); !strings.Contains(c.refusal().Reason, x.want) {
			t.Errorf("%s: %q", name, c.refusal().Reason)
		}
	}
}

func TestFormOfNativeWork(t *testing.T) {
	good := nativeJob(1, 3, 2)
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(w *receipt.Work){
		"no program":      func(w *receipt.Work) { w.Args = nil },
		"empty program":   func(w *receipt.Work) { w.Args = []string{""} },
		"no workdir":      func(w *receipt.Work) { w.Workdir = "" },
		"relative":        func(w *receipt.Work) { w.Workdir = "work" },
		"upwards":         func(w *receipt.Work) { w.Workdir = "/work/../etc" },
		"trailing slash":  func(w *receipt.Work) { w.Workdir = "/work/" },
		"outs unsorted":   func(w *receipt.Work) { w.Outs = []string{"b", "a"} },
		"out twice":       func(w *receipt.Work) { w.Outs = []string{"a", "a"} },
		"out with slash":  func(w *receipt.Work) { w.Outs = []string{"a/b"} },
		"out of dots":     func(w *receipt.Work) { w.Outs = []string{".."} },
		"many outs":       func(w *receipt.Work) { w.Outs = make([]string, MaxOuts+1) },
		"no calls":        func(w *receipt.Work) { w.Limits.Calls = 0 },
		"many calls":      func(w *receipt.Work) { w.Limits.Calls = MaxWorkCalls + 1 },
		"no virtual time": func(w *receipt.Work) { w.Limits.VirtualMs = 0 },
		"long":            func(w *receipt.Work) { w.Limits.VirtualMs = MaxWorkVirtualMs + 1 },
		"none spawned":    func(w *receipt.Work) { w.Limits.Spawned = 0 },
		"many spawned":    func(w *receipt.Work) { w.Limits.Spawned = MaxWorkSpawned + 1 },
	} {
		p := nativeJob(1, 3, 2)
		edit(&p.Work)
		if p.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, edit := range map[string]func(w *receipt.Work){
		"workdir": func(w *receipt.Work) { w.Workdir = "/work" }, "outs": func(w *receipt.Work) { w.Outs = []string{"a"} },
		"calls": func(w *receipt.Work) { w.Limits.Calls = 1 }, "time": func(w *receipt.Work) { w.Limits.VirtualMs = 1 },
		"spawned": func(w *receipt.Work) { w.Limits.Spawned = 1 },
	} {
		p := testJob(1, 3, 2)
		edit(&p.Work)
		if p.check() == nil {
			t.Errorf("SQL with %s: accepted", name)
		}
	}
}
