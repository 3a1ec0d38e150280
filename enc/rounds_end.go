package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// settle moves a running round on after an answer or a loss:
//
//   - all have answered, or the commit window is over, and q have committed: the reveals begin. The window alone, with
//     fewer than q commits, closes nothing: those that still keep their leases may yet answer.
//   - so many have declined that q cannot be reached: the round is over.
//   - a lost execution is given to another peer while there is one, time, and attempts.
func (s *State) settle(at BlockContext, j *Job) {
	now, t := at.TimestampMs, j.tally()
	switch {
	case t.committed >= j.RoundQ && (t.open == 0 || now >= j.CommitEndMs):
		s.dequeue(j)
		j.Status, j.Waiting, j.Reasons = StatusRevealing, "", nil
		j.RevealEndMs = satAdd(now, s.law.genesis.Params.RevealWindowMs)
		s.emit(EventRevealing, sign.PublicKey{}, j.ID, "revealing", "", nil)
	case t.declined+j.RoundQ > j.RoundR:
		s.roundOver(at, j, false)
	case t.open+t.committed+t.declined < j.RoundR && j.Replaced < maxReplaced && !j.Unfillable && now < j.RoundEndMs:
		if len(j.QueueKey) == 0 {
			s.enqueue(j, at.Height+2)
		}
	case t.open == 0:
		s.roundOver(at, j, false)
	}
}

// closeReveals ends a reveal window without a seal. Who stayed silent is lost, not struck: a leader may have censored it.
func (s *State) closeReveals(at BlockContext, j *Job) {
	for i := range j.Executions {
		if x := &j.Executions[i]; x.in(j) && x.Observed == ObservedCommitted {
			s.lose(j, x, "silent in the reveal window")
		}
	}
	statements := make(map[digest.Digest]bool)
	n := 0
	for i := range j.Executions {
		if x := &j.Executions[i]; x.in(j) && x.Observed == ObservedRevealed {
			statements[x.Statement] = true
			n++
		}
	}
	if n >= minDisagreement && len(statements) == n {
		s.fail(at, j, FailNondeterministic, fmt.Sprintf("all of %d results differ", n))
		return
	}
	s.roundOver(at, j, len(statements) > 1)
}

// roundOver ends a round without a quorum: another follows, or the job has failed.
func (s *State) roundOver(at BlockContext, j *Job, dissent bool) {
	t := j.tally()
	declined := !dissent && t.declined > 0 && t.declined+j.RoundQ > j.RoundR
	if declined {
		j.Declines++
	}
	p := &s.law.genesis.Params
	if j.Declines >= maxDeclines && declined || j.Round >= p.MaxRounds {
		s.failRound(at, j, t, declined)
		return
	}
	j.Dissented, j.NextR = dissent, j.RoundR
	if dissent {
		j.NextR = min(j.RoundR+2, MaxPeersPerRound)
	}
	s.dequeue(j)
	why := fmt.Sprintf("%d revealed, %d declined, %d lost, of %d; %d equal results were needed", t.revealed, t.declined, t.lost, j.RoundR, j.RoundQ)
	j.Status, j.Waiting = StatusQueued, fmt.Sprintf("round %d ended without a quorum: %s", j.Round, why)
	j.QueueEndMs = satAdd(at.TimestampMs, p.QueueMs)
	s.enqueue(j, at.Height+2)
	s.emit(EventRoundOver, sign.PublicKey{}, j.ID, "again", why, nil)
}

// failRound fails a job after its last round, with the reason that most peers gave.
func (s *State) failRound(at BlockContext, j *Job, t tally, declined bool) {
	if !declined {
		s.fail(at, j, FailNoQuorum, fmt.Sprintf("after %d rounds: in the last one %d revealed, %d declined, %d were lost; %d equal results were needed",
			j.Round, t.revealed, t.declined, t.lost, j.RoundQ))
		return
	}
	none, detail := uint32(0), ""
	for i := range j.Executions {
		x := &j.Executions[i]
		if !x.in(j) || x.Observed != ObservedDeclined {
			continue
		}
		if x.Reason == DeclineNoResult {
			none++
		}
		if detail == "" {
			detail = ": " + x.Reason
			if x.Detail != "" {
				detail += " (" + x.Detail + ")"
			}
		}
	}
	detail = fmt.Sprintf("%d rounds ended in declines%s", j.Declines, detail)
	if 2*none > t.declined {
		s.fail(at, j, FailNoResult, detail)
		return
	}
	s.fail(at, j, FailUnavailable, detail)
}

func (s *State) fail(at BlockContext, j *Job, failure, detail string) {
	j.Failure, j.FailDetail = failure, detail
	s.end(at, j, StatusFailed)
	s.emit(EventJobFailed, sign.PublicKey{}, j.ID, failure, detail, nil)
}

func (s *State) expire(at BlockContext, j *Job) {
	j.FailDetail = "not placed in time"
	if j.Waiting != "" {
		j.FailDetail += ": " + j.Waiting
	}
	s.end(at, j, StatusExpired)
	s.emit(EventJobExpired, sign.PublicKey{}, j.ID, "expired", j.FailDetail, nil)
}
