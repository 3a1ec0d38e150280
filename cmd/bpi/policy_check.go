package main

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
)

func policyCheck(c *cli.Context, e *env) error {
	ref, err := argument(c, "policy")
	if err != nil {
		return err
	}
	if isPolicyFile(ref) {
		return policyCheckFile(e, ref)
	}
	p, err := policyNamed(ref)
	if err != nil {
		return err
	}
	return policyCheckHere(c, e, p)
}

// policyCheckFile tells what is different in a file's policy.
func policyCheckFile(e *env, path string) error {
	p, err := readPolicy(path)
	if err != nil {
		return err
	}
	base := p.Base()
	list := cage.ComparePolicies(base, p)
	if e.json {
		return writeJSON(e.out, map[string]any{
			"file": path, "policy": p.Name, "mode": p.Mode, "digest": p.Digest(), "base": base.Name, "differences": notNil(list),
		})
	}
	t := newTable(e.out)
	t.row("ok", p.Name, "mode "+p.Mode, "sha256:"+p.Digest().String())
	if err := t.flush(); err != nil {
		return err
	}
	if len(list) == 0 {
		e.say("%s has the rules of %s", path, base.Name)
		return nil
	}
	e.say("what is different from %s:", base.Name)
	t = newTable(e.out, "WHAT", "IN "+base.Name, "IN "+path)
	for _, d := range list {
		t.row(d.What, d.A, d.B)
	}
	return t.flush()
}

// policyCheckHere looks whether this machine and the executors of the network can enforce a policy.
func policyCheckHere(c *cli.Context, e *env, p *cage.Policy) error {
	cfg, _ := doctorConfig(c, e)
	walls := checkWalls(cfg, p.Mode)
	var list []api.Executor
	n, err := e.connect(c.Context)
	if err == nil {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		list, err = n.Executors(ctx)
		err = n.explain(err)
		cancel()
		n.Close()
	}
	if err != nil && (e.api != "" || e.peer != "") {
		return err // a node was named
	}
	type offer struct {
		Peer   string `json:"peer"`
		Name   string `json:"name,omitempty"`
		Offers bool   `json:"offers"`
	}
	offers := []offer{}
	for _, x := range list {
		offers = append(offers, offer{x.Peer, x.Name, slices.Contains(x.Policies, p.Digest())})
	}
	good := true
	for _, w := range walls {
		good = good && w.Status != "FAILED"
	}
	if e.json {
		if err := writeJSON(e.out, map[string]any{"policy": p.Name, "digest": p.Digest(), "this_machine": good, "walls": walls, "executors": offers}); err != nil {
			return err
		}
	} else {
		t := newTable(e.out)
		for _, w := range walls {
			detail := w.Detail
			if w.Next != "" {
				detail += "; " + w.Next
			}
			t.row(w.Check, w.Status, detail)
		}
		for _, o := range offers {
			state := "ok"
			detail := "offers " + p.Name
			if !o.Offers {
				state, detail = "no", "does not offer "+p.Name
			}
			t.row("executor "+orElse(o.Name, o.Peer), state, detail)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		e.say("no executor was asked: no node was reached; start one, or name one with --peer")
	}
	if !good {
		e.say("bpi: this machine cannot enforce %s, and would execute nothing", p.Name)
		return quietly(exitFailure)
	}
	e.say("this machine can enforce %s (sha256:%s)", p.Name, p.Digest())
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
