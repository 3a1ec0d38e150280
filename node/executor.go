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

// cageSpec is the cage's view of a work: a pure function, so that everyone who knows the work knows the spec.
func cageSpec(w *receipt.Work) (cage.Spec, error) {
	if w.Kind != enc.KindSQL {
		return cage.Spec{}, fmt.Errorf("work of kind %q: this node runs %q", w.Kind, enc.KindSQL)
	}
	s := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeSealed, Image: w.Engine,
		Argv: w.Args, Env: w.Env, Stdin: w.Stdin, Seed: w.Seed, EpochNs: w.EpochNs, CPUClass: w.CPUClass, Policy: w.Policy,
		Limits: cage.Limits{
			MemoryBytes: w.Limits.MemoryBytes, OutputBytes: w.Limits.OutputBytes, Files: w.Limits.Files,
			Processes: w.Limits.Processes, CPUMs: w.Limits.CPUMs, WallMs: w.Limits.WallMs,
		},
	}
	for _, in := range w.Inputs {
		s.Inputs = append(s.Inputs, cage.Input{Path: in.Path, Digest: in.Digest, Bytes: in.Bytes})
	}
	return s, s.Check()
}

// Execute implements runner.Executor.
func (e *executor) Execute(ctx context.Context, job digest.Digest, w *receipt.Work, dir string) (receipt.Outcome, error) {
	spec, err := cageSpec(w)
	if err != nil {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclinePolicy, Detail: err.Error()}
	}
	if e.engine == nil {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclinePolicy, Detail: "this node lacks walls of the cage and executes nothing"}
	}
	_, size, ok := e.ledger.head.Load().state.Engine(w.Kind)
	if !ok {
		return receipt.Outcome{}, &runner.NoResult{Reason: enc.DeclineEngine, Detail: "no engine is in force for this kind of work"}
	}
	if err := e.blobs.Ensure(ctx, enc.BlobRef{Digest: w.Engine, Bytes: size}, enginePin); err != nil {
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
	return outcome(result), nil
}

// enginePin is the reason under which engines are kept.
const enginePin = "engine"

func outcome(r cage.Result) receipt.Outcome {
	o := receipt.Outcome{ExitCode: r.ExitCode, Killed: r.Killed, Witness: r.Witness}
	for _, out := range r.Outputs {
		o.Outputs = append(o.Outputs, receipt.Output{Name: out.Name, Digest: out.Digest, Bytes: out.Bytes})
	}
	return o
}
