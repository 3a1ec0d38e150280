package node

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func strictPolicy(t *testing.T) digest.Digest {
	t.Helper()
	p, ok := cage.PolicyNamed(cage.PolicyStrict)
	if !ok {
		t.Fatal("the strict policy is not shipped")
	}
	return p.Digest()
}

func nativeWork(t *testing.T) receipt.Work {
	return receipt.Work{
		Kind: enc.KindNative, Engine: digest.Of([]byte("image")), Policy: strictPolicy(t), CPUClass: cage.CPUx86_64v2,
		Args: []string{"sort"}, Env: []string{"A=1"}, Stdin: []byte("in"), Seed: digest.Of([]byte("seed")), EpochNs: 7,
		Inputs: []receipt.Input{{Path: "a", Digest: digest.Of(nil), Bytes: 1, Origin: "blob"}}, Workdir: "/work", Outs: []string{"x"},
		Limits: receipt.Limits{
			MemoryBytes: 1 << 30, OutputBytes: 2, Files: 30, Processes: 4, CPUMs: 5, WallMs: 6, Calls: 7, VirtualMs: 8, Spawned: 9,
		},
	}
}

func TestSpecOfAProgramIsItsWork(t *testing.T) {
	w := nativeWork(t)
	s, err := CageSpec(&w)
	if err != nil {
		t.Fatal(err)
	}
	want := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeStrict, Image: w.Engine, Argv: w.Args, Env: w.Env, Stdin: w.Stdin,
		Inputs: []cage.Input{{Path: "a", Digest: digest.Of(nil), Bytes: 1}}, Seed: w.Seed, EpochNs: 7, CPUClass: w.CPUClass, Policy: w.Policy,
		Limits: cage.Limits{
			MemoryBytes: 1 << 30, OutputBytes: 2, Files: 30, Processes: 4, CPUMs: 5, WallMs: 6, Calls: 7, VirtualMs: 8, Spawned: 9,
		},
		Workdir: "/work", Outs: []string{"x"},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("spec %+v\nwant %+v", s, want)
	}
	relaxed, _ := cage.PolicyNamed(cage.PolicyRelaxed)
	w.Policy = relaxed.Digest()
	if s, err := CageSpec(&w); err != nil || s.Mode != cage.ModeRelaxed {
		t.Errorf("mode %q, %v", s.Mode, err)
	}
	for name, spoil := range map[string]func(w *receipt.Work){
		"sealed policy":  func(w *receipt.Work) { w.Policy = cage.Sealed().Digest() },
		"unknown policy": func(w *receipt.Work) { w.Policy = digest.Of([]byte("policy")) },
		"unknown kind":   func(w *receipt.Work) { w.Kind = "wasm" },
		"refused spec":   func(w *receipt.Work) { w.Limits.Calls = 0 },
	} {
		w := nativeWork(t)
		spoil(&w)
		if _, err := CageSpec(&w); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// order sends a client's command and wants it accepted.
func order(t *testing.T, n *Node, kind enc.Kind, payload any) {
	t.Helper()
	body := enc.CommandBody{ChainID: n.ledger.chain, ExpiresMs: n.ledger.nowMs() + 60_000, Kind: kind, Payload: canon.Must(payload)}
	c := body.Sign(testKey)
	if _, err := (&backend{n}).SubmitCommand(t.Context(), c.Encode()); err != nil {
		t.Fatal(err)
	}
	s, err := (&backend{n}).CommandStatus(t.Context(), c.ID(), api.MaxWait)
	if err != nil || len(s.Events) == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, ev := range s.Events {
		if ev.Decision == "refused" {
			t.Fatalf("%s: %s", kind, ev.Reason)
		}
	}
}

// store puts bytes into a node's store.
func store(t *testing.T, n *Node, b []byte) digest.Digest {
	t.Helper()
	d := digest.Of(b)
	if _, err := (&backend{n}).PutBlob(t.Context(), d, uint64(len(b)), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return d
}

// publishImage publishes a root with one static program that answers with its input, and waits until it is held.
func publishImage(t *testing.T, n *Node) digest.Digest {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.c"), []byte(`#include <stdio.h>
int main(int argc, char **argv)
{
	int c;
	FILE *f = fopen(argv[1], "r");
	while (f && (c = getc(f)) != EOF)
		putchar(c);
	return f ? 0 : 5;
}`), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-static", "-o", filepath.Join(root, "p"), filepath.Join(dir, "p.c")).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	var archive bytes.Buffer
	if _, err := native.PackRoot(t.Context(), root, &archive, func(string) {}); err != nil {
		t.Fatal(err)
	}
	image := store(t, n, archive.Bytes())
	order(t, n, enc.KindPublishImage, &enc.PublishImage{Name: "base", Image: image, Bytes: uint64(archive.Len())})
	await(t, n, "the image is held", func(h *head) bool {
		m, ok := h.state.Manifest(image)
		return ok && len(m.Held) == 1
	})
	return image
}

// TestProgramIsPlannedExecutedAndWithdrawn goes the whole way on one node.
func TestProgramIsPlannedExecutedAndWithdrawn(t *testing.T) {
	n, _ := startNode(t, testConfig(t))
	if err := n.cage.ReadyFor(cage.ModeStrict); err != nil {
		t.Skip(err)
	}
	b, ctx := &backend{n}, t.Context()
	await(t, n, "this node offers the policy", func(h *head) bool { return h.state.PolicyOffered(strictPolicy(t)) })
	image := publishImage(t, n)
	list, blob := store(t, n, []byte("no manifest")), store(t, n, []byte("one blob"))
	blobs := []enc.BlobRef{{Digest: list, Bytes: 11}, {Digest: blob, Bytes: 8}}
	slices.SortFunc(blobs, func(a, b enc.BlobRef) int { return a.Digest.Compare(b.Digest) })
	order(t, n, enc.KindPublishDataset, &enc.PublishDataset{Name: "data", Manifest: list, Blobs: blobs})

	ask := api.NativeRequest{
		Image: "base", Policy: strictPolicy(t), Args: []string{"/p", "/in/one"}, Env: []string{"B=1", "A=2"}, Outs: []string{"y", "x"},
		Inputs: []api.NativeInput{{Name: "one", Ref: blob.String()}}, Limits: api.Limits{CPUMs: 5000},
	}
	p, err := b.PlanNative(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	var w receipt.Work
	if err := canon.Unmarshal(p.Work, &w); err != nil {
		t.Fatal(err)
	}
	if w.Engine != image || p.R != 1 || p.Q != 1 || w.Digest() != p.WorkDigest || w.Limits.CPUMs != 5000 || w.Limits.Calls == 0 || w.Workdir != "/work" ||
		!slices.Equal(w.Env, []string{"A=2", "B=1"}) || !slices.Equal(w.Outs, []string{"x", "y"}) || p.Image.Version != 1 || w.Seed.IsZero() {
		t.Errorf("plan %+v of %+v", p, w)
	}
	if again, err := b.PlanNative(ctx, ask); err != nil || again.WorkDigest != p.WorkDigest {
		t.Errorf("the same request gives other work: %v", err)
	}
	for name, x := range map[string]struct {
		spoil func(r *api.NativeRequest)
		want  error
	}{
		"image":         {func(r *api.NativeRequest) { r.Image = "none" }, api.NotFound("", "")},
		"version":       {func(r *api.NativeRequest) { r.Image = "base@2" }, api.NotFound("", "")},
		"image's name":  {func(r *api.NativeRequest) { r.Image = "Base" }, api.Malformed("", "")},
		"a dataset":     {func(r *api.NativeRequest) { r.Image = "data" }, api.NotFound("", "")},
		"policy":        {func(r *api.NativeRequest) { r.Policy = digest.Of(nil) }, api.NotFound("", "")},
		"sealed":        {func(r *api.NativeRequest) { r.Policy = cage.Sealed().Digest() }, api.Malformed("", "")},
		"blob":          {func(r *api.NativeRequest) { r.Inputs[0].Ref = digest.Of(nil).String() }, api.NotFound("", "")},
		"dataset":       {func(r *api.NativeRequest) { r.Inputs[0].Ref = "none" }, api.NotFound("", "")},
		"no manifest":   {func(r *api.NativeRequest) { r.Inputs[0].Ref = "data" }, api.Malformed("", "")},
		"input's name":  {func(r *api.NativeRequest) { r.Inputs[0].Name = "a/b" }, api.Malformed("", "")},
		"input upwards": {func(r *api.NativeRequest) { r.Inputs[0].Name = ".." }, api.Malformed("", "")},
		"two of a name": {func(r *api.NativeRequest) { r.Inputs = append(r.Inputs, r.Inputs[0]) }, api.Malformed("", "")},
		"no program":    {func(r *api.NativeRequest) { r.Args = nil }, api.Malformed("", "")},
		"workdir":       {func(r *api.NativeRequest) { r.Workdir = "work" }, api.Malformed("", "")},
		"variable":      {func(r *api.NativeRequest) { r.Env = []string{"LD_PRELOAD=x"} }, api.Malformed("", "")},
		"limit":         {func(r *api.NativeRequest) { r.Limits.WallMs = 1 << 60 }, api.Malformed("", "")},
		"quorum":        {func(r *api.NativeRequest) { r.R, r.Q = 4, 2 }, api.Malformed("", "")},
	} {
		bad := ask
		bad.Inputs = slices.Clone(ask.Inputs)
		x.spoil(&bad)
		if _, err := b.PlanNative(ctx, bad); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}

	order(t, n, enc.KindSubmitJob, &enc.SubmitJob{Work: w, R: 1, Q: 1})
	job := enc.JobID(w.Digest(), testKey.Public(), [16]byte{})
	await(t, n, "the job has ended", func(h *head) bool {
		j, ok := h.state.Job(job)
		return ok && j.Status.Final()
	})
	j, err := b.Job(ctx, job.String())
	if err != nil || j.State != api.JobSealed || j.Kind != api.KindNative || *j.ExitCode != 0 {
		t.Fatalf("%+v, %v", j, err)
	}
	_, out, err := b.JobOutput(ctx, job.String(), "stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if text, err := io.ReadAll(out); err != nil || string(text) != "one blob" {
		t.Errorf("%q, %v", text, err)
	}
	if l, err := b.Jobs(ctx, api.JobQuery{Kind: api.KindNative}); err != nil || len(l.Jobs) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if p, err := b.PlanNative(ctx, ask); err != nil || p.Reuse == nil || *p.Reuse != job {
		t.Errorf("an equal job is not found: %+v, %v", p.Reuse, err)
	}

	order(t, n, enc.KindWithdraw, &enc.Withdraw{Catalog: enc.CatalogImages, Name: "base", Version: 1})
	if list, err := b.Images(ctx); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := b.PlanNative(ctx, ask); !errors.Is(err, api.NotFound("", "")) {
		t.Errorf("withdrawn, and planned: %v", err)
	}
	await(t, n, "the withdrawn bytes are let go", func(h *head) bool { return len(n.store.Pins(image)) == 0 })
}
