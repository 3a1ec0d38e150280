package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// able is one executor and whether it could take a piece of work now, by the chain's own rules.
type able struct {
	Peer     string         `json:"peer"`
	Key      sign.PublicKey `json:"key"`
	Name     string         `json:"name,omitempty"`
	Operator sign.PublicKey `json:"operator"`
	Free     uint32         `json:"free_slots"`
	Reason   string         `json:"reason,omitempty"` // the first reason against it; none: it could
}

// whoCould asks the rules of placement for each executor. Only the draw among those that fit is left to the block that
// places the job.
func whoCould(list []api.Executor, engine, policy digest.Digest, cpuClass string, memory, nowMs uint64) []able {
	v := enc.View{Seats: uint32(len(list)), Engine: engine, Policy: policy, CPUClass: cpuClass, Memory: memory, NowMs: nowMs, Local: make([]uint32, len(list))}
	out := make([]able, 0, len(list))
	for _, x := range list {
		v.Nodes = append(v.Nodes, &enc.Node{
			Peer: x.Key, Operator: x.Operator, Registered: x.Registered, Engines: x.Engines, Policies: x.Policies, CPUClass: x.CPUClass,
			Slots: x.Slots, Memory: x.Memory, Draining: x.Draining, Reason: x.Reason, UsedSlots: x.UsedSlots, UsedMemory: x.UsedMemory,
		})
		out = append(out, able{Peer: x.Peer, Key: x.Key, Name: x.Name, Operator: x.Operator, Free: x.Slots - min(x.UsedSlots, x.Slots)})
	}
	slices.SortFunc(v.Nodes, func(a, b *enc.Node) int { return bytes.Compare(a.Peer[:], b.Peer[:]) })
	reasons := map[sign.PublicKey]string{}
	for _, r := range enc.Place(v, digest.Digest{}).Reasons {
		reasons[r.Peer] = r.Reason
	}
	for i := range out {
		out[i].Reason = reasons[out[i].Key]
	}
	return out
}

// operatorsOf counts the operators with a peer that could take the work: a job uses one peer of each.
func operatorsOf(list []able) int {
	seen := map[sign.PublicKey]bool{}
	for _, a := range list {
		if a.Reason == "" {
			seen[a.Operator] = true
		}
	}
	return len(seen)
}

func ableTable(e *env, list []able) error {
	t := newTable(e.out, "PEER", "NAME", "OPERATOR", "FREE SLOTS", "COULD RUN IT")
	for _, a := range list {
		could := "yes"
		if a.Reason != "" {
			could = "no: " + a.Reason
		}
		t.row(a.Key.Short(), orDash(a.Name), a.Operator.Short(), a.Free, could)
	}
	return t.flush()
}

// jobPlan shows what would be signed and who could run it, and orders nothing.
func jobPlan(c *cli.Context, e *env) error {
	req, err := planRequest(c, e)
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		p, work, err := plan(ctx, e, n, req)
		if err != nil {
			return err
		}
		list, err := couldRun(ctx, n, work, p.TimeMs)
		if err != nil {
			return err
		}
		have := operatorsOf(list)
		placeable := uint32(have) >= p.R
		if e.json {
			if err := writeJSON(e.out, map[string]any{
				"work": p.WorkDigest, "kind": work.Kind, "engine": work.Engine, "policy": work.Policy, "cpu_class": work.CPUClass, "seed": work.Seed,
				"r": p.R, "q": p.Q, "memory_bytes": work.Limits.MemoryBytes, "wall_ms": work.Limits.WallMs, "output_bytes": work.Limits.OutputBytes,
				"datasets": notNil(p.Datasets), "warnings": notNil(p.Warnings), "reuse": p.Reuse, "executors": list, "placeable": placeable,
			}); err != nil {
				return err
			}
		} else {
			sayPlan(e, &p)
			t := newTable(e.out)
			t.row("work", work.Digest())
			t.row("engine", work.Kind+" sha256:"+work.Engine.String())
			t.row("policy", policyName(work.Policy))
			t.row("agreement", fmt.Sprintf("%d of %d peers, each of another operator", p.Q, p.R))
			t.row("limits", fmt.Sprintf("memory %s, result %s, time %s", size(work.Limits.MemoryBytes), size(work.Limits.OutputBytes), time.Duration(work.Limits.WallMs)*time.Millisecond))
			t.row("seed", work.Seed)
			for _, in := range work.Inputs {
				t.row("input", fmt.Sprintf("%s, %s, sha256:%s", in.Path, size(in.Bytes), in.Digest.Short()))
			}
			if p.Reuse != nil {
				t.row("answered by", fmt.Sprintf("job %s, sealed already; --fresh runs it again", *p.Reuse))
			}
			if err := t.flush(); err != nil {
				return err
			}
			fmt.Fprintln(e.out)
			if err := ableTable(e, list); err != nil {
				return err
			}
		}
		if !placeable {
			return fail(exitTimeout, "the job could not be placed now: it wants %d operators with a peer that can run it, and there are %d; it would wait, or run on fewer with --replicas", p.R, have)
		}
		e.say("nothing was ordered; which %s of those that can is drawn by the block that places the job", count(int(p.R), "peer"))
		return nil
	})
}

func couldRun(ctx context.Context, n *conn, w *receipt.Work, nowMs uint64) ([]able, error) {
	all, err := n.Executors(ctx)
	if err != nil {
		return nil, err
	}
	return whoCould(all, enc.EngineAhead(w.Kind, w.Engine), w.Policy, w.CPUClass, w.Limits.MemoryBytes, nowMs), nil
}
