package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// metaAnalytics is the one container that every network has: the SQL engine that genesis names.
const metaAnalytics = "metaanalytics"

func containerCommand() *cli.Command {
	return &cli.Command{
		Name:  "container",
		Usage: "DockLock containers: programs in cages, here and on the peers",
		Subcommands: []*cli.Command{
			{
				Name: "start", Usage: "make a container ready for work, and say which rules are enforced on it",
				Description: "Asks the peer to run the container once in its cage, and looks which other peers can. A container of the\n" +
					"network has no process that stays: each job gets one of its own, which ends with it. " + metaAnalytics + " is the\n" +
					"SQL engine that the chain names; containers of your own images come with services.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the container: " + metaAnalytics},
					&cli.StringFlag{Name: "policy", Value: cage.PolicySealed, Usage: "`POLICY` to ask for; see: bpi policy list"},
				},
				Action: action(containerStart),
			},
			{Name: "list", Usage: "the containers that this network can run", Action: action(containerList)},
			containerRunCommand(), containerVerifyCommand(), containerDiffCommand(), containerInspectCommand(),
		},
	}
}

// container is what start and list tell of one.
type container struct {
	Name     string        `json:"name"`
	Image    digest.Digest `json:"image"`
	Bytes    uint64        `json:"bytes"`
	Present  bool          `json:"present"` // at the peer that was asked
	Policy   string        `json:"policy"`  // enforced
	PolicyID digest.Digest `json:"policy_digest"`
	Ready    int           `json:"ready"` // executors that could run it now
	Peers    []able        `json:"executors"`
}

// inspect finds out about the container of the chain's SQL engine.
func (c *conn) inspect(ctx *cli.Context, e *env, s *api.Status) (container, error) {
	if s.Engine == nil {
		return container{}, fmt.Errorf("chain %s names no SQL engine, so there is no container %s; begin a chain with one: bpi init --new-chain --engine FILE", s.Chain.Name, metaAnalytics)
	}
	bound, cancel := e.bounded(ctx.Context, time.Minute)
	defer cancel()
	all, err := c.Executors(bound)
	if err != nil {
		return container{}, err
	}
	sealed := cage.Sealed()
	k := container{Name: metaAnalytics, Image: s.Engine.Digest, Bytes: s.Engine.Bytes, Present: s.Engine.Present, Policy: sealed.Name, PolicyID: sealed.Digest()}
	k.Peers = whoCould(all, k.Image, k.PolicyID, analytics.CPUClass, 0, s.Head.TimeMs)
	for _, p := range k.Peers {
		if p.Reason == "" {
			k.Ready++
		}
	}
	return k, nil
}

func containerList(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		list := []container{}
		if s.Engine != nil {
			k, err := n.inspect(c, e, &s)
			if err != nil {
				return err
			}
			list = append(list, k)
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		t := newTable(e.out, "CONTAINER", "IMAGE", "SIZE", "POLICY", "EXECUTORS")
		for _, k := range list {
			t.row(k.Name, "sha256:"+k.Image.Short(), size(k.Bytes), k.Policy, fmt.Sprintf("%d of %d ready", k.Ready, len(k.Peers)))
		}
		return t.flush()
	})
}

// enforcedNow and notEnforced say in words what the sealed policy is, and what strict determinism does for other programs.
var (
	enforcedNow = []string{
		"namespaces of its own (user, mount, pid, net, ipc, uts): no network, no other process in sight",
		"a root that holds the image and the job's inputs, read-only, and nothing else",
		"no capabilities, no new privileges; limits of memory, CPU, files and output",
		"system calls: a list, and whatever is not on it kills the program",
		"clock and randomness: the engine was linked to take both from the job's seed; the list kills the calls that would go around that",
		"one thread; the witness is a digest of inputs, seed, limits and outputs",
	}
	notEnforced = []string{
		"a witness of every event of the run: nothing in between is recorded, only what went in and what came out",
		"clock, randomness, directory order and scheduling given by the cage: the engine was built to need none of that",
	}
)

func containerStart(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	name, asked := c.String("name"), c.String("policy")
	switch {
	case name == "":
		return usageError(fmt.Errorf("bpi container start: no name; try: bpi container start --name %s", metaAnalytics))
	case name != metaAnalytics:
		return fmt.Errorf("there is no container %q on this network: the only one so far is %s, the SQL engine; see: bpi container list", name, metaAnalytics)
	}
	wanted, err := policyNamed(asked)
	if err != nil {
		return usageError(err)
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		k, err := n.inspect(c, e, &s)
		if err != nil {
			return err
		}
		// The check of a query is a run of the container in the peer's cage, of which the chain hears nothing.
		ran := slices.Contains(s.Roles, "executor")
		p, _, err := plan(ctx, e, n, api.PlanRequest{SQL: "SELECT 1"})
		if err != nil {
			return fmt.Errorf("container %s does not run on %s: %w", name, n.where, err)
		}
		ran = ran && len(p.Warnings) == 0
		given := 0
		for _, w := range s.Walls {
			if w.OK {
				given++
			}
		}
		if e.json {
			if err := writeJSON(e.out, map[string]any{
				"container": k, "asked_policy": asked, "enforced_policy": k.Policy, "enforced": enforcedNow, "not_enforced": notEnforced, "ran_here": ran,
				"walls": notNil(s.Walls),
			}); err != nil {
				return err
			}
		} else {
			at := "being fetched by this peer"
			if k.Present {
				at = "at hand"
			}
			t := newTable(e.out)
			t.row("container", k.Name)
			t.row("image", fmt.Sprintf("sha256:%s, %s, %s", k.Image, size(k.Bytes), at))
			t.row("policy asked", asked)
			t.row("policy enforced", fmt.Sprintf("%s sha256:%s", k.Policy, k.PolicyID))
			for i, line := range enforcedNow {
				t.row(onFirst(i, "enforced"), line)
			}
			for i, line := range notEnforced {
				t.row(onFirst(i, "not enforced"), line)
			}
			if len(s.Walls) > 0 {
				t.row("walls here", fmt.Sprintf("%d of %d given", given, len(s.Walls)))
			}
			here := "not tried: this peer executes nothing"
			if ran {
				here = "ran once in this peer's cage"
			}
			t.row("run", here)
			t.row("executors", fmt.Sprintf("%d of %d ready", k.Ready, len(k.Peers)))
			if err := t.flush(); err != nil {
				return err
			}
		}
		if k.Ready == 0 {
			why := "there are none"
			if len(k.Peers) > 0 {
				why = k.Peers[0].Key.Short() + " " + k.Peers[0].Reason
			}
			return fail(exitTimeout, "container %s is not ready: no executor can take it (%s); see: bpi doctor", name, why)
		}
		if wanted.Digest() != k.PolicyID {
			e.say("note: %s runs under %s, whatever is asked for, and its receipts say so: this engine takes its clock and randomness from the", name, k.Policy)
			e.say("job by itself, and gives the same bytes on every peer. %s is for programs that do not: bpi container run", wanted.Name)
		}
		e.say("%s is ready; use it with: bpi analytics submit --dataset NAME --query \"SELECT …\"", name)
		return nil
	})
}

func onFirst(i int, s string) string {
	if i == 0 {
		return s
	}
	return ""
}
