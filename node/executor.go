package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/enc/runner"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// engine is the cage as the node uses it; cage/native is one.
type engine interface {
	Run(ctx context.Context, spec cage.Spec, files cage.Files, out string) (cage.Result, error)
}

// executor runs ENC's work in the cage. It implements runner.Executor.
type executor struct {
	engine engine
	blobs  *blobs
	ledger *ledger
}

// CageSpec is the cage's view of a work: a pure function, so that everyone who knows the work knows the spec.
func CageSpec(w *receipt.Work) (cage.Spec, error) {
	mode := cage.ModeSealed
	switch w.Kind {
	case enc.KindSQL:
	case enc.KindNative:
		policy, ok := cage.PolicyOf(w.Policy)
		if !ok || policy.Mode == cage.ModeSealed {
			return cage.Spec{}, fmt.Errorf("policy %s: this node knows none of that digest for programs in images", w.Policy.Short())
		}
		mode = policy.Mode
	default:
		return cage.Spec{}, fmt.Errorf("work of kind %.40q: this node runs %q and %q", w.Kind, enc.KindSQL, enc.KindNative)
	}
	s := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: mode, Image: w.Engine,
		Argv: w.Args, Env: w.Env, Stdin: w.Stdin, Seed: w.Seed, EpochNs: w.EpochNs, CPUClass: w.CPUClass, Policy: w.Policy,
		Limits: cage.Limits{
			MemoryBytes: w.Limits.MemoryBytes, OutputBytes: w.Limits.OutputBytes, Files: w.Limits.Files,
			Processes: w.Limits.Processes, CPUMs: w.Limits.CPUMs, WallMs: w.Limits.WallMs,
			Calls: w.Limits.Calls, VirtualMs: w.Limits.VirtualMs, Spawned: w.Limits.Spawned,
		},
		Workdir: w.Workdir, Outs: w.Outs,
	}
	for _, in := range w.Inputs {
		s.Inputs = append(s.Inputs, cage.Input{Path: in.Path, Digest: in.Digest, Bytes: in.Bytes})
	}
	return s, s.Check()
}

// Execute implements runner.Executor.
func (e *executor) Execute(ctx context.Context, job digest.Digest, w *receipt.Work, dir string) (receipt.Outcome, error) {
	spec, err := CageSpec(w)
	if err != nil {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclinePolicy, Detail: err.Error()}
	}
	if e.engine == nil {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclinePolicy, Detail: "this node lacks walls of the cage and executes nothing"}
	}
	engine, ok := e.ledger.head.Load().state.EngineOf(w)
	if !ok {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclineEngine, Detail: "engine " + w.Engine.Short() + " is not of this chain, or not any more"}
	}
	reason := enginePin
	if w.Kind == enc.KindNative {
		reason = runningPrefix + job.String() // as the inputs: released when the job has ended
	}
	if err := e.blobs.Ensure(ctx, engine, reason); err != nil {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclineEngine, Detail: err.Error()}
	}
	result, err := e.engine.Run(ctx, spec, e.blobs, dir)
	var none *cage.ErrNoResult
	if errors.As(err, &none) {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclineNoResult, Detail: none.Error()}
	}
	if err != nil {
		return receipt.Outcome{}, err
	}
	return Outcome(result), nil
}

// enginePin is the reason under which engines are kept.
const enginePin = "engine"

// Outcome is a cage's result as a statement has it.
func Outcome(r cage.Result) receipt.Outcome {
	o := receipt.Outcome{ExitCode: r.ExitCode, Killed: r.Killed, Witness: r.Witness}
	for _, out := range r.Outputs {
		o.Outputs = append(o.Outputs, receipt.Output{Name: out.Name, Digest: out.Digest, Bytes: out.Bytes})
	}
	return o
}
