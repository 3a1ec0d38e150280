package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// storyLine is one event of the chain about a job, in this program's words.
type storyLine struct {
	TimeMs uint64         `json:"time_ms"` // agreed time
	Height uint64         `json:"height"`
	What   string         `json:"what"` // ordered, placed, moved, committed, declined, revealing, revealed, lost, again, struck, or the job's end
	Round  uint32         `json:"round,omitempty"`
	Peer   sign.PublicKey `json:"peer"` // zeros: the chain itself
	Name   string         `json:"name,omitempty"`
	Detail string         `json:"detail,omitempty"`

	names     names // of a placement's peers
	placement *receipt.Placement
	revealed  *enc.RevealedBody
	seal      *receipt.Seal
}

// ends reports whether the job has ended with this line.
func (l *storyLine) ends() bool { return api.Ended(l.What) }

// names are what people call nodes, by key.
type names map[sign.PublicKey]string

// nodeNames asks for the names that the chain gives its nodes. A node without one is called by the start of its key.
func nodeNames(ctx context.Context, n *conn) (names, []api.Executor, error) {
	list, err := n.Executors(ctx)
	if err != nil {
		return nil, nil, err
	}
	m := names{}
	for _, x := range list {
		if x.Name != "" {
			m[x.Key] = x.Name
		}
	}
	return m, list, nil
}

func (m names) of(k sign.PublicKey) string {
	switch {
	case k.IsZero():
		return "-"
	case m[k] != "":
		return m[k]
	}
	return k.Short()
}

func (m names) all(keys []sign.PublicKey) string {
	var out []string
	for _, k := range keys {
		out = append(out, m.of(k))
	}
	return strings.Join(out, ", ")
}

// storyWords are the kinds of event as this program calls them.
var storyWords = map[string]string{
	enc.EventJobSubmitted: "ordered", enc.EventJobPlaced: "placed", enc.EventJobMoved: "moved", enc.EventCommitted: "committed",
	enc.EventDeclined: "declined", enc.EventRevealing: "revealing", enc.EventRevealed: "revealed", enc.EventLost: "lost",
	enc.EventRoundOver: "again", receipt.KindJobSealed: api.JobSealed, enc.EventJobFailed: api.JobFailed,
	enc.EventJobCancelled: api.JobCancelled, enc.EventJobExpired: api.JobExpired, enc.EventStrike: "struck",
	enc.EventJobForgotten: "forgotten",
}

// storyReader turns a job's events into lines. An event that is damaged is an error: the peer made it up.
type storyReader struct {
	names names
	round uint32 // of the last placement
	parts map[sign.PublicKey]bool
}

func (r *storyReader) line(ev *api.Event) (storyLine, error) {
	l := storyLine{TimeMs: ev.TimeMs, Height: ev.Height, What: storyWords[ev.Kind], Round: r.round, Peer: ev.Actor, Detail: ev.Reason}
	if l.What == "" {
		l.What, l.Detail = ev.Kind, strings.TrimSpace(ev.Decision+" "+ev.Reason)
	}
	read := func(v any) error {
		if err := canon.Unmarshal(ev.Body, v); err != nil {
			return fmt.Errorf("event %d of block %d (%s): %w", ev.Index, ev.Height, ev.Kind, err)
		}
		return nil
	}
	switch ev.Kind {
	case enc.EventJobSubmitted:
		l.Peer, l.Round = sign.PublicKey{}, 0
		l.Detail = "client " + ev.Actor.Short()
		if ev.Reason != "" {
			l.Detail += ", for " + ev.Reason
		}
	case enc.EventJobPlaced, enc.EventJobMoved:
		p := new(receipt.Placement)
		if err := read(p); err != nil {
			return l, err
		}
		for _, a := range p.Peers {
			r.round = max(r.round, a.Round)
		}
		if word, ok := strings.CutPrefix(ev.Decision, "round-"); ok {
			fmt.Sscan(word, &r.round)
		}
		var added []sign.PublicKey
		for _, a := range p.Peers {
			if !r.parts[a.Peer] {
				r.parts[a.Peer] = true
				added = append(added, a.Peer)
			}
		}
		l.placement, l.Round, l.names = p, r.round, r.names
		l.Detail = fmt.Sprintf("%s; %d of %d must agree; drawn with the id of block %d", r.names.all(added), p.Q, p.R, p.Height-min(p.Height, 1))
	case enc.EventCommitted:
		var c enc.Commit
		if err := read(&c); err != nil {
			return l, err
		}
		l.Round = c.Round
	case enc.EventDeclined:
		var d enc.Decline
		if err := read(&d); err != nil {
			return l, err
		}
		l.Round, l.Detail = d.Round, strings.TrimSuffix(d.Reason+": "+d.Detail, ": ")
	case enc.EventRevealed:
		b := new(enc.RevealedBody)
		if err := read(b); err != nil {
			return l, err
		}
		l.revealed, l.Round = b, b.Round
		l.Detail = "statement " + b.Statement.Short() + ", " + outcomeWords(&b.Outcome)
		if ev.Decision == "late" {
			l.Detail += "; after the seal"
		}
	case enc.EventLost, enc.EventStrike:
		if err := read(&l.Peer); err != nil {
			return l, err
		}
	case receipt.KindJobSealed:
		v := new(receipt.Seal)
		if err := read(v); err != nil {
			return l, err
		}
		l.seal, l.Round = v, v.Round
	case enc.EventJobFailed:
		l.Detail = strings.TrimSuffix(ev.Decision+": "+ev.Reason, ": ")
	}
	l.Name = r.names[l.Peer]
	return l, nil
}

func outcomeWords(o *receipt.Outcome) string {
	if o.Killed != "" {
		return "ended by the cage (" + o.Killed + ")"
	}
	return fmt.Sprintf("exit code %d", o.ExitCode)
}

// lateBlocks is how far beyond a job's end its story is looked for: a peer that was slower than the quorum reveals then.
const lateBlocks = 64

var errStoryEnds = errors.New("that is the end of it")

// story calls f with everything the chain wrote about the job, in order. With follow it goes on until the job has ended;
// else it ends at the head. What peers revealed after the seal is told as well, as far as it is there already.
func story(ctx context.Context, n *conn, j *api.Job, follow bool, f func(*storyLine) error) error {
	m, _, err := nodeNames(ctx, n)
	if err != nil {
		return err
	}
	r := &storyReader{names: m, parts: map[sign.PublicKey]bool{}}
	var end *api.Event
	err = n.Events(ctx, api.EventQuery{From: j.Height, Follow: follow, Subject: j.ID}, func(ev *api.Event) error {
		l, err := r.line(ev)
		if err != nil {
			return err
		}
		if l.ends() {
			end = ev
		}
		if err := f(&l); err != nil {
			return err
		}
		if end != nil {
			return errStoryEnds
		}
		return nil
	})
	if end == nil || !errors.Is(err, errStoryEnds) {
		return err
	}
	return n.Events(ctx, api.EventQuery{From: end.Height, To: end.Height + lateBlocks, Subject: j.ID}, func(ev *api.Event) error {
		if ev.Height == end.Height && ev.Index <= end.Index {
			return nil
		}
		l, err := r.line(ev)
		if err != nil {
			return err
		}
		return f(&l)
	})
}

// collect gives the whole story of a job so far.
func collect(ctx context.Context, n *conn, j *api.Job) ([]storyLine, error) {
	var list []storyLine
	err := story(ctx, n, j, false, func(l *storyLine) error {
		list = append(list, *l)
		return nil
	})
	return list, err
}

// part is one peer's part in one round of a job.
type part struct {
	Round       uint32         `json:"round"`
	Peer        sign.PublicKey `json:"peer"`
	Name        string         `json:"name,omitempty"`
	Operator    sign.PublicKey `json:"operator"`
	State       string         `json:"state"` // as in ENC: assigned, running, committed, declined, revealed, matched, mismatched, lost, stopped
	Reason      string         `json:"reason,omitempty"`
	AssignedMs  uint64         `json:"assigned_ms,omitempty"` // agreed times
	CommittedMs uint64         `json:"committed_ms,omitempty"`
	RevealedMs  uint64         `json:"revealed_ms,omitempty"`
	DeclinedMs  uint64         `json:"declined_ms,omitempty"`
	LostMs      uint64         `json:"lost_ms,omitempty"`
	Late        bool           `json:"late,omitempty"` // revealed after the seal
	Statement   digest.Digest  `json:"statement"`      // zeros until revealed

	outcome *receipt.Outcome
}

// parts sorts a story into rounds and peers. What the chain's state says of the last round is believed over what the
// events show, for it also knows who runs.
func parts(list []storyLine, j *api.Job) []*part {
	var out []*part
	operators := map[sign.PublicKey]sign.PublicKey{}
	of := func(round uint32, peer sign.PublicKey) *part {
		for _, p := range out {
			if p.Round == round && p.Peer == peer {
				return p
			}
		}
		p := &part{Round: round, Peer: peer, Operator: operators[peer], State: string(enc.ObservedAssigned)}
		out = append(out, p)
		return p
	}
	assigned := map[sign.PublicKey]bool{}
	var seal *receipt.Seal
	for i := range list {
		l := &list[i]
		switch l.What {
		case "placed", "moved":
			for _, a := range l.placement.Peers {
				operators[a.Peer] = a.Operator
				if !assigned[a.Peer] {
					assigned[a.Peer] = true
					p := of(l.Round, a.Peer)
					p.AssignedMs, p.Name = l.TimeMs, l.names[a.Peer]
				}
			}
			continue
		case "committed":
			p := of(l.Round, l.Peer)
			p.CommittedMs, p.State = l.TimeMs, string(enc.ObservedCommitted)
		case "declined":
			p := of(l.Round, l.Peer)
			p.DeclinedMs, p.State, p.Reason = l.TimeMs, string(enc.ObservedDeclined), l.Detail
		case "lost":
			p := of(l.Round, l.Peer)
			p.LostMs, p.State, p.Reason = l.TimeMs, string(enc.ObservedLost), l.Detail
		case "revealed":
			p := of(l.Round, l.Peer)
			p.RevealedMs, p.State, p.Late = l.TimeMs, string(enc.ObservedRevealed), seal != nil
			p.Statement, p.outcome = l.revealed.Statement, &l.revealed.Outcome
		case api.JobSealed:
			seal = l.seal
		}
		if !l.Peer.IsZero() && l.Name != "" && l.What != "struck" {
			of(l.Round, l.Peer).Name = l.Name
		}
	}
	for _, p := range out {
		if p.outcome != nil && seal != nil && p.Round == seal.Round {
			p.State = string(enc.ObservedMismatched)
			if p.Statement == seal.Statement {
				p.State = string(enc.ObservedMatched)
			}
		}
		for _, x := range j.Executions {
			if x.Peer != p.Peer || x.Round != p.Round {
				continue
			}
			p.Operator, p.State = x.Operator, x.State
			if p.Reason == "" {
				p.Reason = x.Reason
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *part) int { return int(a.Round) - int(b.Round) })
	return out
}
