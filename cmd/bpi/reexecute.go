package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/node"
	"github.com/metanode/metanode/receipt"
)

// reexecute runs the work of a valid receipt again in a cage on this machine, and puts into the report whether the same
// came of it. What keeps it from running says nothing about the receipt: the step is then not checked.
func reexecute(ctx context.Context, e *env, rep *receipt.Report) {
	if !rep.Valid() {
		return
	}
	again, policy, err := runAgain(ctx, e, &rep.Statement.Work)
	if err != nil {
		rep.Set(receipt.StepReexecute, receipt.NotChecked, clean("the work could not be run again: "+err.Error()))
		return
	}
	status, detail := compareRuns(&rep.Statement.Outcome, again, policy)
	rep.Set(receipt.StepReexecute, status, clean(detail))
}

// compareRuns judges what came of running work again.
func compareRuns(sealed, again *receipt.Outcome, policy *cage.Policy) (receipt.Status, string) {
	if sameOutcome(sealed, again) {
		return receipt.OK, "run again on this machine: the same end, outputs and witness"
	}
	var words []string
	for _, d := range differences(sealed, again) {
		words = append(words, fmt.Sprintf("%s: sealed %s, here %s", d.What, d.A, d.B))
	}
	if policy.Mode == cage.ModeRelaxed {
		return receipt.NotChecked, "run again under " + policy.Name + ", where results need not agree: " + strings.Join(words, "; ")
	}
	return receipt.Failed, "run again on this machine: " + strings.Join(words, "; ")
}

func sameOutcome(a, b *receipt.Outcome) bool {
	return a.ExitCode == b.ExitCode && a.Killed == b.Killed && a.Witness == b.Witness && slices.Equal(a.Outputs, b.Outputs)
}

// runAgain runs a work on bytes fetched from a peer.
func runAgain(ctx context.Context, e *env, w *receipt.Work) (*receipt.Outcome, *cage.Policy, error) {
	policy, ok := cage.PolicyOf(w.Policy)
	if !ok {
		return nil, nil, fmt.Errorf("policy sha256:%s is not known to this program", w.Policy.Short())
	}
	spec, err := node.CageSpec(w)
	if err != nil {
		return nil, policy, err
	}
	l, err := openCage(e, policy)
	if err != nil {
		return nil, policy, err
	}
	defer l.close()
	files, err := e.fetchWork(ctx, l, w, policy)
	if err != nil {
		return nil, policy, err
	}
	result, err := l.engine.Run(ctx, spec, files, outputsOf(l))
	if err != nil {
		return nil, policy, err
	}
	o := node.Outcome(result)
	return &o, policy, nil
}

// fetchWork brings what a work runs on to the folder of the run: the image or engine, unless the image is unpacked here
// already, and the inputs.
func (e *env) fetchWork(ctx context.Context, l *localCage, w *receipt.Work, policy *cage.Policy) (*localInputs, error) {
	files := &localInputs{byBytes: map[digest.Digest]string{}}
	wanted := map[digest.Digest]uint64{}
	for _, in := range w.Inputs {
		wanted[in.Digest] = in.Bytes
	}
	if unpacked := filepath.Join(l.roots(), w.Engine.String()); policy.Mode != cage.ModeSealed && isFolder(unpacked) {
		files.root = &localRoot{digest: w.Engine, dir: unpacked}
	} else {
		wanted[w.Engine] = 0 // as many as there are
	}
	n, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	for d, bytes := range wanted {
		if bytes == 0 {
			if bytes, err = n.sizeOf(ctx, d); err != nil {
				return nil, n.explain(err)
			}
		}
		to := filepath.Join(l.run, "blobs", d.String())
		if err := download(ctx, e, n, d, bytes, to); err != nil {
			return nil, n.explain(err)
		}
		files.byBytes[d] = to
	}
	return files, nil
}

// sizeOf is the size that a peer says a blob has; the bytes are checked against its digest when they come.
func (c *conn) sizeOf(ctx context.Context, d digest.Digest) (uint64, error) {
	body, bytes, err := c.GetBlob(ctx, d)
	if err != nil {
		return 0, err
	}
	body.Close()
	if bytes < 0 {
		return 0, errors.New("the peer does not say how long blob " + d.Short() + " is")
	}
	return uint64(bytes), nil
}
