package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
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

// askedAndPlanned is a request and what an honest peer prepares for it.
func askedAndPlanned(t *testing.T) (api.NativeRequest, api.Plan, receipt.Work) {
	t.Helper()
	image, blob, seed := digest.Of([]byte("image")), digest.Of([]byte("blob")), digest.Of([]byte("seed"))
	req := api.NativeRequest{
		Image: "base", Policy: strictPolicy(t), Args: []string{"sort", "-R"}, Env: []string{"B=2", "A=1"}, Stdin: []byte("in"), Workdir: "/work",
		Inputs: []api.NativeInput{{Name: "data", Ref: "users"}, {Name: "one", Ref: "sha256:" + blob.String()}}, Outs: []string{"b", "a"},
		Limits: api.Limits{CPUMs: 1000}, Seed: &seed, EpochNs: 7, R: 3,
	}
	w := receipt.Work{
		Kind: enc.KindNative, Engine: image, Policy: req.Policy, CPUClass: cage.CPUx86_64v2, Args: req.Args, Env: []string{"A=1", "B=2"},
		Stdin: req.Stdin, Workdir: "/work", Outs: []string{"a", "b"}, Seed: seed, EpochNs: 7,
		Inputs: []receipt.Input{{Path: "data/users.csv", Digest: digest.Of([]byte("csv")), Bytes: 3}, {Path: "one", Digest: blob, Bytes: 4}},
		Limits: receipt.Limits{CPUMs: 1000, MemoryBytes: 1 << 30},
	}
	p := api.Plan{
		WorkDigest: w.Digest(), R: 3, Q: 2, Image: &api.ResolvedImage{Ref: "base", Name: "base", Version: 1, Digest: image},
		Datasets: []api.ResolvedDataset{{Ref: "users", Name: "users", Version: 1}},
	}
	return req, p, w
}

func TestOnlyTheJobThatWasAskedForIsSigned(t *testing.T) {
	req, p, w := askedAndPlanned(t)
	if err := checkRun(&p, &w, &req); err != nil {
		t.Fatal(err)
	}
	other := digest.Of([]byte("other"))
	for name, spoil := range map[string]func(*api.NativeRequest, *api.Plan, *receipt.Work){
		"kind":     func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Kind = enc.KindSQL },
		"policy":   func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Policy = other },
		"image":    func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Engine = other },
		"no image": func(_ *api.NativeRequest, p *api.Plan, _ *receipt.Work) { p.Image = nil },
		"pinned image": func(r *api.NativeRequest, p *api.Plan, _ *receipt.Work) {
			r.Image = "base@sha256:" + other.String()
			p.Image.Ref = r.Image
		},
		"arguments":      func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Args = []string{"rm", "-R"} },
		"environment":    func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Env = []string{"A=1", "B=3"} },
		"more variables": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Env = append(w.Env, "C=3") },
		"standard input": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Stdin = nil },
		"working folder": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Workdir = "/" },
		"outputs":        func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Outs = nil },
		"seed":           func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Seed = other },
		"epoch":          func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.EpochNs++ },
		"limit":          func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Limits.CPUMs++ },
		"replicas":       func(_ *api.NativeRequest, p *api.Plan, _ *receipt.Work) { p.R = 1 },
		"no majority":    func(_ *api.NativeRequest, p *api.Plan, _ *receipt.Work) { p.Q = 1 },
		"input left out": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Inputs = w.Inputs[:1] },
		"other blob":     func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Inputs[1].Digest = other },
		"blob elsewhere": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) { w.Inputs[1].Path = "one/x" },
		"unasked input": func(_ *api.NativeRequest, _ *api.Plan, w *receipt.Work) {
			w.Inputs = append(w.Inputs, receipt.Input{Path: "x"})
		},
		"dataset unnamed": func(_ *api.NativeRequest, p *api.Plan, _ *receipt.Work) { p.Datasets = nil },
	} {
		req, p, w := askedAndPlanned(t)
		w.Inputs = slices.Clone(w.Inputs)
		spoil(&req, &p, &w)
		p.WorkDigest = w.Digest()
		if checkRun(&p, &w, &req) == nil {
			t.Errorf("%s: signed", name)
		}
	}
	req, p, w = askedAndPlanned(t)
	p.WorkDigest = other
	if checkRun(&p, &w, &req) == nil {
		t.Error("another digest: signed")
	}
}

func TestRefusalOfAPlanIsShown(t *testing.T) {
	url := fakeNode(t, map[string]any{"POST /v1/native/plan": api.NotFound("add it with: bpi image add ROOTDIR --name base", "image %q is not registered", "base")})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "job", "run", "--image", "base", "--", "true", "--json")
	if code != exitFailure || out != "" || !strings.Contains(errs, `image "base" is not registered`) || !strings.Contains(errs, "bpi image add") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

func TestImagesAreListedAndShown(t *testing.T) {
	image := api.Image{Publication: api.Publication{Name: "base", Version: 2, Bytes: 20_000, Wanted: 3}, Digest: digest.Of([]byte("image"))}
	url := fakeNode(t, map[string]any{"GET /v1/images": []api.Image{image}, "GET /v1/images/{ref}": api.ImageDetail{Image: image, Versions: []uint64{1, 2}}})
	for _, line := range []string{"image list", "image show base"} {
		code, out, errs := bpi(t, t.TempDir(), append([]string{"--api", url}, strings.Fields(line)...)...)
		if code != 0 || !strings.Contains(out, "base") || !strings.Contains(out, "20.0 kB") || !strings.Contains(out, image.Digest.String()) {
			t.Errorf("%s: exit code %d, %q, %q", line, code, out, errs)
		}
	}
	code, _, errs := bpi(t, t.TempDir(), "--api", url, "image", "remove", "base")
	if code != exitFailure || !strings.Contains(errs, "only its owner may remove it") {
		t.Errorf("another's image: exit code %d, %q", code, errs)
	}
}
