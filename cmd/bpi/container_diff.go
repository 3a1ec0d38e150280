package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/cage"
)

func containerDiffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "in what two recordings differ: what was asked for, the first event that differs, what came of it", ArgsUsage: "FILE FILE",
		Description: "Exit code 0: they are the same; 5: they differ.",
		Action:      action(containerDiff),
	}
}

func containerDiff(c *cli.Context, e *env) error {
	if c.NArg() != 2 {
		return usageError(fmt.Errorf("bpi container diff: want two recordings, have %s; try: bpi container diff --help", count(c.NArg(), "argument")))
	}
	names := c.Args().Slice()
	var recs [2]*cage.Recording
	for i, name := range names {
		var err error
		if recs[i], err = readRecording(name); err != nil {
			return err
		}
	}
	if names[0] == names[1] {
		e.say("note: both are the same file")
	}
	return sayDifference(e, recs[0], recs[1], names[0], names[1])
}

// sayDifference tells in what two recordings differ, each by a name for it. They are the same: no error.
func sayDifference(e *env, a, b *cage.Recording, nameA, nameB string) error {
	d, differ := cage.Compare(a, b)
	events := a.Spec.Mode == cage.ModeStrict && b.Spec.Mode == cage.ModeStrict
	if e.json {
		v := map[string]any{
			"same": !differ, "a": nameA, "b": nameB, "witness_a": a.Result.Witness, "witness_b": b.Result.Witness,
			"spec": notNil(d.Spec), "result": notNil(d.Result), "event": eventJSON(d.Event), "events_compared": events,
		}
		if err := writeJSON(e.out, v); err != nil {
			return err
		}
	} else if differ {
		fmt.Fprint(e.out, cleanLines(d.Text(nameA, nameB)))
	} else {
		fmt.Fprintf(e.out, "ok: same witness %s, %s\n", a.Result.Witness, count(int(a.Count), "event"))
	}
	if !events {
		e.say("note: under a relaxed policy threads run as the machine has them, so only what came of the runs is compared, not their events")
	}
	if differ {
		e.say("bpi: %s and %s differ", nameA, nameB)
		return quietly(exitNoAgreement)
	}
	return nil
}

// cleanLines shows control characters in each line rather than obeying them: the text has names that programs chose.
func cleanLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(clean(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return b.String()
}

// eventJSON is where two runs parted, nil if they did not.
func eventJSON(d *cage.EventDifference) any {
	if d == nil {
		return nil
	}
	words := func(e *cage.Event) any {
		if e == nil {
			return nil
		}
		return map[string]any{"kind": e.Kind, "tid": e.Tid, "text": e.String()}
	}
	return map[string]any{
		"first": d.First, "last": d.Last, "maybe": d.Maybe, "before": words(d.Before), "a": words(d.A), "b": words(d.B),
		"a_ended": d.AEnded, "b_ended": d.BEnded,
	}
}

func containerInspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "what a recording of bpi container run holds", ArgsUsage: "FILE",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "events", Usage: "list the events that it holds, a line each"}},
		Action: action(containerInspect),
	}
}

func containerInspect(c *cli.Context, e *env) error {
	path, err := argument(c, "recording")
	if err != nil {
		return err
	}
	rec, err := readRecording(path)
	if err != nil {
		return err
	}
	if c.Bool("events") {
		return listEvents(e, rec)
	}
	if e.json {
		v := recordingJSON(rec)
		outputs := []map[string]any{}
		for _, o := range rec.Result.Outputs {
			outputs = append(outputs, map[string]any{"name": o.Name, "digest": o.Digest, "bytes": o.Bytes})
		}
		inputs := []map[string]any{}
		for _, in := range rec.Spec.Inputs {
			inputs = append(inputs, map[string]any{"at": in.At(), "digest": in.Digest, "bytes": in.Bytes, "was_at": hintOf(rec, in.At())})
		}
		v["outputs"], v["inputs"], v["root"], v["events_kept"] = outputs, inputs, hintOf(rec, "root"), rec.Kept()
		return writeJSON(e.out, v)
	}
	p, err := cage.ParsePolicy(rec.Policy)
	if err != nil {
		return err // it was read before
	}
	s, res := &rec.Spec, &rec.Result
	t := newTable(e.out)
	t.row("program", quoteArgs(s.Argv))
	t.row("policy", fmt.Sprintf("%s, mode %s, sha256:%s", p.Name, s.Mode, s.Policy))
	t.row("root", fmt.Sprintf("sha256:%s, was at %s", s.Image, orElse(hintOf(rec, "root"), "a place that it does not tell")))
	t.row("spec", s.Digest())
	t.row("seed", s.Seed)
	t.row("clock from", epochText(s))
	t.row("started in", s.Workdir)
	for i, v := range s.Env {
		t.row(onFirst(i, "environment"), v)
	}
	if len(s.Stdin) > 0 {
		t.row("standard input", size(uint64(len(s.Stdin))))
	}
	for i, in := range s.Inputs {
		t.row(onFirst(i, "input"), fmt.Sprintf("%s, %s, sha256:%s", in.At(), size(in.Bytes), in.Digest.Short()))
	}
	t.row("limits", limitsText(&s.Limits))
	t.row("events", fmt.Sprintf("%d, of which %d are kept", rec.Count, rec.Kept()))
	t.row("took", fmt.Sprintf("%s, %s of its clock, %d processes and threads", count(int(rec.Totals.Calls), "system call"), virtual(rec), rec.Totals.Spawned))
	switch {
	case rec.Start != "":
		t.row("ended", "could not be started: "+rec.Start)
	case res.Killed != "":
		t.row("ended", "by the cage: "+killedText(res.Killed, s, p.Name))
	default:
		t.row("ended", fmt.Sprintf("with exit code %d", res.ExitCode))
	}
	for i, o := range res.Outputs {
		t.row(onFirst(i, "output"), fmt.Sprintf("%s, %s, sha256:%s", o.Name, size(o.Bytes), o.Digest))
	}
	t.row("witness", res.Witness)
	return t.flush()
}

func listEvents(e *env, rec *cage.Recording) error {
	for i := range rec.Kept() {
		ev, _ := rec.Event(i)
		if e.json {
			if err := writeLine(e.out, map[string]any{"event": i + 1, "kind": ev.Kind, "tid": ev.Tid, "text": ev.String()}); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(e.out, "%d\t%d\t%s\n", i+1, ev.Tid, clean(ev.String())); err != nil {
			return err
		}
	}
	if kept := rec.Kept(); kept < rec.Count {
		e.say("note: %d more events happened, of which only the checkpoints are kept", rec.Count-kept)
	}
	return nil
}
