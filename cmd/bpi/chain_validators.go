package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
)

func validatorsCommand() *cli.Command {
	key := &cli.StringFlag{Name: "validator-key", Usage: "sign with the validator key in `FILE` (default: keys/validator.key in the home folder)"}
	idOnly := &cli.BoolFlag{Name: "id-only", Usage: "write only the proposal's id"}
	return &cli.Command{
		Name: "validators", Usage: "the validators in force, and what is proposed; propose and approve another set",
		Flags:  []cli.Flag{watchFlag("what changes")},
		Action: action(chainValidators),
		Subcommands: []*cli.Command{
			{
				Name: "propose", Usage: "propose another set of validators, and stand behind it",
				Description: "The command is signed with this home's validator key, which must be in the set. The proposal takes effect when\n" +
					"validators of more than two thirds of the weight stand behind it; the others approve it with:\n" +
					"bpi chain validators approve ID. A card is what the new validator's peer writes with: bpi init --card.\n" +
					"Start that peer first and let it catch up: a validator that is not there counts as a fault.",
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "add", Usage: "add the peer of this card `FILE`; may be given more than once"},
					&cli.StringSliceFlag{Name: "remove", Usage: "remove the validator `NAME|KEY`; may be given more than once"},
					&cli.StringSliceFlag{Name: "weight", Usage: "give a validator, old or new, another weight, as `NAME=N`; may be given more than once"},
					key, idOnly,
				},
				Action: action(proposeValidators),
			},
			{
				Name: "approve", Usage: "stand behind a proposal, and behind no other", ArgsUsage: "PROPOSAL",
				Flags:  []cli.Flag{key, idOnly},
				Action: action(approveValidators),
			},
		},
	}
}

func chainValidators(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		if c.Bool("watch") {
			return watchValidators(c, e, n)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		v, err := n.Validators(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, v)
		}
		return writeValidators(e, &v)
	})
}

func writeValidators(e *env, v *api.Validators) error {
	fmt.Fprintf(e.out, "epoch %d: %s of weight %d; %d decides; votes are signed by %s\n", v.Epoch, count(len(v.Validators), "validator"), v.Total, v.Quorum, schemeOf(v.Validators))
	t := newTable(e.out, "NAME", "WEIGHT", "KEY", "NODE KEY")
	for _, x := range v.Validators {
		t.row(orDash(x.Name), x.Weight, x.Key, x.Peer)
	}
	if err := t.flush(); err != nil || len(v.Proposals) == 0 {
		return err
	}
	fmt.Fprintln(e.out)
	t = newTable(e.out, "PROPOSAL", "BEHIND IT", "CHANGES")
	for _, p := range v.Proposals {
		t.row(short(p.ID), fmt.Sprintf("%d of %d", p.Weight, v.Total), changes(v.Validators, p.Next))
	}
	return t.flush()
}

// changes says in words how a set differs from another.
func changes(from, to []api.Validator) string {
	var out []string
	find := func(list []api.Validator, k sign.PublicKey) *api.Validator {
		for i := range list {
			if list[i].Key == k {
				return &list[i]
			}
		}
		return nil
	}
	for _, x := range from {
		switch y := find(to, x.Key); {
		case y == nil:
			out = append(out, "-"+called(&x))
		case y.Weight != x.Weight:
			out = append(out, fmt.Sprintf("%s weight %d→%d", called(&x), x.Weight, y.Weight))
		case y.Peer != x.Peer:
			out = append(out, called(&x)+" on another node")
		case y.BLS != x.BLS:
			out = append(out, called(&x)+" with another bls key")
		case y.Name != x.Name:
			out = append(out, called(&x)+" renamed "+called(y))
		}
	}
	for _, y := range to {
		if find(from, y.Key) == nil {
			out = append(out, fmt.Sprintf("+%s (weight %d)", called(&y), y.Weight))
		}
	}
	if len(out) == 0 {
		return "another order"
	}
	return strings.Join(out, ", ")
}

func called(v *api.Validator) string {
	if v.Name != "" {
		return v.Name
	}
	return v.Key.Short()
}

// validatorKey loads the key that signs, and sees that it is a validator's.
func validatorKey(c *cli.Context, e *env, v *api.Validators) (sign.PrivateKey, error) {
	path := c.String("validator-key")
	if path == "" {
		path = e.keyPath(keyfile.Validator)
	}
	key, err := keyfile.Load(path, keyfile.Validator)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("%w; run this with the home folder of a validator (--home), or name its key with --validator-key", err)
	}
	if err != nil {
		return key, err
	}
	if !slices.ContainsFunc(v.Validators, func(x api.Validator) bool { return x.Key == key.Public() }) {
		return key, fmt.Errorf("validator key %s (%s) is not in the set of epoch %d: only validators decide who validates; bpi chain validators lists them", key.Public().Short(), tilde(path), v.Epoch)
	}
	return key, nil
}

// schemeOf is the signature scheme of a set in force: what its members' keys are for.
func schemeOf(list []api.Validator) consensus.Scheme {
	if len(list) > 0 && !list[0].BLS.IsZero() {
		return consensus.BLS12381
	}
	return consensus.Ed25519
}

// nextSet applies the changes of the flags to a set.
func nextSet(c *cli.Context, from []api.Validator) ([]api.Validator, error) {
	next := slices.Clone(from)
	find := func(name string) (int, error) {
		at := -1
		for i := range next {
			if next[i].Name == name || len(name) >= 4 && strings.HasPrefix(next[i].Key.String(), name) {
				if at >= 0 {
					return 0, fmt.Errorf("validator %q: more than one has that name or key; give more of the key", name)
				}
				at = i
			}
		}
		if at < 0 {
			return 0, fmt.Errorf("validator %q: none has that name or key; bpi chain validators lists them", name)
		}
		return at, nil
	}
	for _, name := range c.StringSlice("remove") {
		i, err := find(name)
		if err != nil {
			return nil, err
		}
		next = slices.Delete(next, i, i+1)
	}
	for _, path := range c.StringSlice("add") {
		var err error
		if next, err = nextWith(next, path, schemeOf(from)); err != nil {
			return nil, err
		}
	}
	for _, w := range c.StringSlice("weight") {
		name, text, ok := strings.Cut(w, "=")
		weight, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || weight == 0 {
			return nil, usageError(fmt.Errorf("--weight %q: want NAME=N with N from 1 to %d", w, uint64(1<<32-1)))
		}
		i, err := find(name)
		if err != nil {
			return nil, err
		}
		next[i].Weight = weight
	}
	return next, nil
}

// nextWith adds the peer of a card to a set.
func nextWith(next []api.Validator, path string, scheme consensus.Scheme) ([]api.Validator, error) {
	f, err := readCard(path)
	if err != nil {
		return nil, err
	}
	for _, x := range next {
		if x.Name == f.name || x.Key == f.validator || x.Peer == f.node {
			return nil, fmt.Errorf("card %s: %s has the name or a key of validator %s; remove that one in the same proposal, or give the new one its own with: bpi init --card --name NAME", path, f.name, called(&x))
		}
	}
	v, err := f.member(scheme)
	if err != nil {
		return nil, fmt.Errorf("card %s: %w", path, err)
	}
	return append(next, api.Validator{Key: v.Key, Weight: v.Weight, Peer: v.Peer, Name: v.Name, BLS: v.BLS}), nil
}

func proposeValidators(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if len(c.StringSlice("add"))+len(c.StringSlice("remove"))+len(c.StringSlice("weight")) == 0 {
		return usageError(errors.New("bpi chain validators propose: want at least one --add, --remove or --weight"))
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		v, err := n.Validators(ctx)
		if err != nil {
			return err
		}
		key, err := validatorKey(c, e, &v)
		if err != nil {
			return err
		}
		next, err := nextSet(c, v.Validators)
		if err != nil {
			return err
		}
		warnAbsent(ctx, e, n, v.Validators, next)
		return standBehind(ctx, c, e, n, key, &v, next)
	})
}

// warnAbsent tells of new validators whose peers this node does not see: each counts as a fault until it is there.
func warnAbsent(ctx context.Context, e *env, n *conn, from, next []api.Validator) {
	s, err := n.Status(ctx)
	if err != nil {
		return
	}
	peers, err := n.Peers(ctx)
	if err != nil {
		return
	}
	for _, x := range next {
		old := slices.ContainsFunc(from, func(y api.Validator) bool { return y.Key == x.Key })
		here := x.Peer == s.Key || slices.ContainsFunc(peers, func(p api.Peer) bool { return p.Key == x.Peer && p.Connected })
		if !old && !here {
			e.say("note: the peer of %s is not connected to this node; start it and let it catch up before the others approve", called(&x))
		}
	}
	if len(next) < 4 {
		e.say("note: %s tolerate no fault; 4 tolerate one", count(len(next), "validator"))
	}
}

func approveValidators(c *cli.Context, e *env) error {
	ref, err := argument(c, "proposal")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		v, err := n.Validators(ctx)
		if err != nil {
			return err
		}
		key, err := validatorKey(c, e, &v)
		if err != nil {
			return err
		}
		var found []api.Proposal
		for _, p := range v.Proposals {
			if strings.HasPrefix(p.ID.String(), strings.ToLower(ref)) {
				found = append(found, p)
			}
		}
		if len(found) != 1 || ref == "" {
			return fmt.Errorf("proposal %.80q: %s of epoch %d begin so; bpi chain validators lists the open ones", ref, count(len(found), "proposal"), v.Epoch)
		}
		// What is signed is the whole set, not the id that the peer gave it.
		if id := proposal(&v, found[0].Next).ID(); id != found[0].ID {
			return fmt.Errorf("%s shows proposal %s with another set than the one of that id; ask another peer with --peer", n.where, found[0].ID.Short())
		}
		return standBehind(ctx, c, e, n, key, &v, found[0].Next)
	})
}

func proposal(v *api.Validators, next []api.Validator) *enc.ProposeValidators {
	p := &enc.ProposeValidators{Epoch: consensus.Epoch(v.Epoch)}
	for _, x := range next {
		p.Next = append(p.Next, consensus.Validator{Key: x.Key, Weight: x.Weight, Peer: x.Peer, Name: x.Name, BLS: x.BLS})
	}
	return p
}

// standBehind signs a set and orders it, and says what came of it.
func standBehind(ctx context.Context, c *cli.Context, e *env, n *conn, key sign.PrivateKey, v *api.Validators, next []api.Validator) error {
	p := proposal(v, next)
	if len(p.Next) == 0 {
		return errors.New("the proposal leaves no validator: a chain needs one")
	}
	if _, err := consensus.NewValidatorSet(p.Next); err != nil {
		return err
	}
	id := p.ID()
	e.say("proposal %s: %s", id.Short(), clean(changes(v.Validators, next)))
	chain, now, err := n.chainNow(ctx)
	if err != nil {
		return err
	}
	cmd, err := signCommand(key, chain, now, enc.KindProposeValidators, p)
	if err != nil {
		return err
	}
	s, err := n.order(ctx, cmd)
	if err != nil {
		return err
	}
	changed := slices.ContainsFunc(s.Events, func(ev api.Event) bool { return ev.Kind == enc.EventValidators })
	return sayProposal(ctx, c, e, n, id, v, changed)
}

func sayProposal(ctx context.Context, c *cli.Context, e *env, n *conn, id digest.Digest, v *api.Validators, changed bool) error {
	var weight uint64
	if !changed {
		now, err := n.Validators(ctx)
		if err != nil {
			return err
		}
		for _, p := range now.Proposals {
			if p.ID == id {
				weight = p.Weight
			}
		}
	}
	switch {
	case c.Bool("id-only"):
		fmt.Fprintln(e.out, id)
	case e.json:
		if err := writeJSON(e.out, map[string]any{"proposal": id, "epoch": v.Epoch, "changed": changed, "weight": weight, "quorum": v.Quorum}); err != nil {
			return err
		}
	default:
		fmt.Fprintln(e.out, id)
	}
	if changed {
		e.say("a quorum stands behind it: epoch %d is closed, and the new set validates from now on", v.Epoch)
	} else {
		e.say("weight %d of %d stands behind it, %d decides; the others approve it with: bpi chain validators approve %s", weight, v.Total, v.Quorum, id.Short())
	}
	return nil
}
