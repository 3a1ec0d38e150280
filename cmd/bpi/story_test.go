package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// told is a job's story as a chain writes it: three peers are placed, one is slow and moved away from, two dissent in the
// first round, and the second round seals.
type told struct {
	job    digest.Digest
	peers  [4]sign.PublicKey
	events []api.Event
}

func (s *told) add(kind string, actor sign.PublicKey, decision, reason string, body any) {
	ev := api.Event{
		Height: uint64(10 + len(s.events)), Index: 0, TimeMs: uint64(1000 + 10*len(s.events)), Kind: kind, Actor: actor, Subject: s.job,
		Decision: decision, Reason: reason,
	}
	if body != nil {
		ev.Body = canon.Must(body)
	}
	s.events = append(s.events, ev)
}

func outcomeOf(text string) receipt.Outcome {
	return receipt.Outcome{
		Outputs: []receipt.Output{{Name: "stderr", Digest: digest.Of(nil)}, {Name: "stdout", Digest: digest.Of([]byte(text)), Bytes: uint64(len(text))}},
		Witness: digest.Of([]byte("witness of " + text)),
	}
}

func tellStory() *told {
	s := &told{job: digest.Of([]byte("job"))}
	for i := range s.peers {
		s.peers[i][0] = byte(i + 1)
	}
	a, b, c, d := s.peers[0], s.peers[1], s.peers[2], s.peers[3]
	assigned := func(round uint32, keys ...sign.PublicKey) (list []receipt.Assigned) {
		for _, k := range keys {
			op := k
			op[1] = 9
			list = append(list, receipt.Assigned{Peer: k, Operator: op, Round: round})
		}
		return list
	}
	first := receipt.Placement{Height: 11, R: 3, Q: 2, Peers: assigned(1, a, b)}
	s.add(enc.EventJobSubmitted, sign.PublicKey{7}, "accepted", "http:127.0.0.1", nil)
	s.add(enc.EventJobPlaced, sign.PublicKey{}, "round-1", "", &first)
	s.add(enc.EventCommitted, a, "", "", &enc.Commit{Job: s.job, Round: 1})
	s.add(enc.EventCommitted, b, "", "", &enc.Commit{Job: s.job, Round: 1})
	s.add(enc.EventRevealing, sign.PublicKey{}, "", "", nil)
	one, two := digest.Of([]byte("one")), digest.Of([]byte("two"))
	s.add(enc.EventRevealed, a, "in time", "", &enc.RevealedBody{Round: 1, Statement: one, Outcome: outcomeOf("rows")})
	s.add(enc.EventRevealed, b, "in time", "", &enc.RevealedBody{Round: 1, Statement: two, Outcome: outcomeOf("other rows")})
	s.add(enc.EventRoundOver, sign.PublicKey{}, "", "no quorum", nil)
	second := receipt.Placement{Height: 18, R: 3, Q: 2, Peers: append(assigned(1, a, b), assigned(2, c, d)...)}
	s.add(enc.EventJobPlaced, sign.PublicKey{}, "round-2", "", &second)
	s.add(enc.EventDeclined, d, "", "", &enc.Decline{Job: s.job, Round: 2, Reason: enc.DeclineNoResult, Detail: "wall clock"})
	for _, p := range []sign.PublicKey{a, c} {
		s.add(enc.EventCommitted, p, "", "", &enc.Commit{Job: s.job, Round: 2})
	}
	s.add(enc.EventRevealed, a, "in time", "", &enc.RevealedBody{Round: 2, Statement: one, Outcome: outcomeOf("rows")})
	s.add(enc.EventRevealed, c, "in time", "", &enc.RevealedBody{Round: 2, Statement: one, Outcome: outcomeOf("rows")})
	s.add(receipt.KindJobSealed, sign.PublicKey{}, "sealed", "2 of 3 peers agree", &receipt.Seal{
		Job: s.job, Statement: one, Round: 2, Placement: second, Agreeing: []sign.PublicKey{a, c}, Declined: []sign.PublicKey{d},
		Dissent: []sign.PublicKey{}, Lost: []sign.PublicKey{}, Outputs: outcomeOf("rows").Outputs,
	})
	s.add(enc.EventRevealed, b, "late", "", &enc.RevealedBody{Round: 2, Statement: two, Outcome: outcomeOf("other rows")})
	return s
}

func (s *told) read(t *testing.T, n names) []storyLine {
	t.Helper()
	r := &storyReader{names: n, parts: map[sign.PublicKey]bool{}}
	var list []storyLine
	for i := range s.events {
		l, err := r.line(&s.events[i])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

func TestStoryTellsEveryRound(t *testing.T) {
	s := tellStory()
	list := s.read(t, names{s.peers[0]: "anna", s.peers[3]: "dora"})
	var words []string
	for _, l := range list {
		words = append(words, l.What)
	}
	want := "ordered placed committed committed revealing revealed revealed again placed declined committed committed revealed revealed sealed revealed"
	if got := strings.Join(words, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if d := list[0].Detail; !strings.Contains(d, "for http:127.0.0.1") || !list[0].Peer.IsZero() {
		t.Errorf("ordered: %q by %s", d, list[0].Peer)
	}
	if d := list[1].Detail; !strings.HasPrefix(d, "anna, "+s.peers[1].Short()) || !strings.Contains(d, "2 of 3 must agree") || !strings.Contains(d, "block 10") {
		t.Errorf("placed: %q", d)
	}
	// The second placement names only those that it added.
	if d := list[8].Detail; strings.Contains(d, "anna") || !strings.Contains(d, "dora") || list[8].Round != 2 {
		t.Errorf("placed again: %q in round %d", d, list[8].Round)
	}
	if d := list[9].Detail; d != enc.DeclineNoResult+": wall clock" || list[9].Name != "dora" {
		t.Errorf("declined: %q by %q", d, list[9].Name)
	}
	if d := list[15].Detail; !strings.Contains(d, "after the seal") {
		t.Errorf("late: %q", d)
	}
}

func TestPartsKnowWhoDidWhat(t *testing.T) {
	s := tellStory()
	list := parts(s.read(t, names{s.peers[0]: "anna", s.peers[3]: "dora"}), &api.Job{JobSummary: api.JobSummary{ID: s.job}})
	type short struct {
		Round uint32
		Peer  byte
		State string
		Late  bool
	}
	var got []short
	for _, p := range list {
		got = append(got, short{p.Round, p.Peer[0], p.State, p.Late})
		if p.Operator[1] != 9 {
			t.Errorf("peer %d of round %d has operator %s", p.Peer[0], p.Round, p.Operator)
		}
	}
	want := []short{
		{1, 1, "revealed", false}, {1, 2, "revealed", false},
		{2, 3, "matched", false}, {2, 4, "declined", false}, {2, 1, "matched", false}, {2, 2, "mismatched", true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if list[0].Name != "anna" || list[3].Name != "dora" || list[3].Reason == "" {
		t.Errorf("names and reasons: %+v, %+v", list[0], list[3])
	}
	// The chain's own word on the last round is believed over the events.
	list = parts(s.read(t, nil), &api.Job{JobSummary: api.JobSummary{ID: s.job}, Executions: []api.Execution{{Peer: s.peers[3], Round: 2, State: "stopped", Reason: "drained"}}})
	if list[3].State != "stopped" {
		t.Errorf("an execution that the state calls stopped is shown as %s", list[3].State)
	}
}

func TestAPeerThatWasPlacedAndNeverAnsweredIsNamed(t *testing.T) {
	s := tellStory()
	s.events = s.events[:2]
	list := parts(s.read(t, names{s.peers[1]: "bert"}), &api.Job{JobSummary: api.JobSummary{ID: s.job}})
	if len(list) != 2 || list[1].Name != "bert" || list[1].State != "assigned" || list[1].AssignedMs == 0 {
		t.Errorf("%+v", list)
	}
}

func TestDissentIsFound(t *testing.T) {
	s := tellStory()
	sealed := digest.Of([]byte("one"))
	rounds := resultsOf(parts(s.read(t, nil), &api.Job{JobSummary: api.JobSummary{ID: s.job}, Statement: sealed}), sealed)
	if len(rounds) != 2 || len(rounds[0].Results) != 2 || len(rounds[1].Results) != 2 {
		t.Fatalf("%+v", rounds)
	}
	r := rounds[1].Results
	if !r[0].Sealed || len(r[0].Peers) != 2 || r[1].Sealed || len(r[1].Peers) != 1 {
		t.Errorf("%+v", r)
	}
	d := differences(&r[0].outcome, &r[1].outcome)
	if len(d) != 1 || d[0].What != "output stdout" || d[0].A == d[0].B {
		t.Errorf("differences: %+v", d)
	}
}

func TestDifferences(t *testing.T) {
	a := outcomeOf("x")
	killed, exit, witness, fewer := a, a, a, a
	killed.Killed, killed.ExitCode = "memory", 137
	exit.ExitCode = 13
	witness.Witness = digest.Of([]byte("another"))
	fewer.Outputs = a.Outputs[:1]
	for _, tt := range []struct {
		name string
		b    receipt.Outcome
		what string
	}{{"killed", killed, "end"}, {"exit", exit, "end"}, {"witness", witness, "witness"}, {"fewer outputs", fewer, "output stdout"}, {"the same", a, "keyed output"}} {
		d := differences(&a, &tt.b)
		if len(d) != 1 || d[0].What != tt.what {
			t.Errorf("%s: %+v, want one difference, of %q", tt.name, d, tt.what)
		}
	}
}

func TestADamagedEventIsNoStory(t *testing.T) {
	s := tellStory()
	for i := range s.events {
		ev := s.events[i]
		if ev.Body == nil {
			continue
		}
		ev.Body = ev.Body[:len(ev.Body)-1]
		r := &storyReader{parts: map[sign.PublicKey]bool{}}
		if _, err := r.line(&ev); err == nil || !strings.Contains(err.Error(), ev.Kind) {
			t.Errorf("%s: %v", ev.Kind, err)
		}
	}
}

func TestAnUnknownEventIsShownAsItIs(t *testing.T) {
	r := &storyReader{parts: map[sign.PublicKey]bool{}}
	l, err := r.line(&api.Event{Kind: "job-of-tomorrow", Decision: "done", Reason: "because"})
	if err != nil || l.What != "job-of-tomorrow" || l.Detail != "done because" || l.ends() {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestJobStoryCommands(t *testing.T) {
	s := tellStory()
	end := s.events[14].Height
	url := fakeNode(t, map[string]any{
		"GET /v1/jobs/{id}":        api.Job{JobSummary: api.JobSummary{ID: s.job, State: api.JobSealed, Height: 10}, R: 3, Q: 2, Statement: digest.Of([]byte("one"))},
		"GET /v1/chain/executors":  []api.Executor{{Key: s.peers[0], Name: "anna"}},
		"GET /v1/chain/events":     eventsOf(s.events),
		"GET /v1/receipts/{id...}": api.NotFound("", "no receipt"),
	})
	id := s.job.Short()
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "job", "history", id)
	if code != 0 || strings.Count(out, "\n") != 17 || !strings.Contains(out, "sealed") || !strings.Contains(out, "after the seal") {
		t.Errorf("history: exit code %d\n%s%s", code, out, errs)
	}
	if lines := strings.Split(out, "\n"); len(lines) > 1 && !strings.HasPrefix(lines[0], "TIME") {
		t.Errorf("history begins with %q", lines[0])
	}
	code, out, _ = bpi(t, t.TempDir(), "--api", url, "--json", "job", "history", id)
	last := storyLine{}
	text := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(text[len(text)-1]), &last); code != 0 || err != nil || last.Height <= end {
		t.Errorf("history --json: exit code %d, %v, the last line is of block %d", code, err, last.Height)
	}
	code, out, _ = bpi(t, t.TempDir(), "--api", url, "job", "executions", id)
	if code != 0 || !strings.Contains(out, "anna") || !strings.Contains(out, "mismatched") || !strings.Contains(out, "no_result: wall clock") && !strings.Contains(out, enc.DeclineNoResult) {
		t.Errorf("executions: exit code %d\n%s", code, out)
	}
	code, out, errs = bpi(t, t.TempDir(), "--api", url, "job", "diff", id)
	if code != 0 || !strings.Contains(out, "output stdout") || !strings.Contains(out, "no result: "+enc.DeclineNoResult) || !strings.Contains(errs, "do not agree") {
		t.Errorf("diff: exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs = bpi(t, t.TempDir(), "--api", url, "job", "logs", id); code != exitFailure || !strings.Contains(errs, "no receipt") {
		t.Errorf("logs without a receipt: exit code %d, %s", code, errs)
	}
}
