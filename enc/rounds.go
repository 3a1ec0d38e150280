package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// Numbers of the agreement that genesis does not choose.
const (
	setupMs         = 300_000 // what a round may take besides the work's wall time: fetching inputs, waiting for a slot
	maxReplaced     = 8       // lost executions of one job that are given to another peer
	maxDeclines     = 3       // rounds of one job that may end in declines
	minDisagreement = 5       // reveals that must all differ for a job to count as nondeterministic
)

// RevealedBody is the body of EventRevealed.
type RevealedBody struct {
	_         struct{} `cbor:",toarray"`
	Round     uint32
	Statement digest.Digest
	Outcome   receipt.Outcome
}

// tally counts the executions of a job's current round.
type tally struct {
	open, committed, revealed, declined, lost uint32
}

// in reports whether x takes part in the job's current round.
func (x *Execution) in(j *Job) bool { return j.Round > 0 && x.Round == j.Round }

// open reports whether x has yet to commit or decline in the current round.
func (x *Execution) open(j *Job) bool {
	return x.in(j) && (x.Observed == ObservedAssigned || x.Observed == ObservedRunning)
}

func (j *Job) tally() tally {
	var t tally
	for i := range j.Executions {
		x := &j.Executions[i]
		if !x.in(j) {
			continue
		}
		switch x.Observed {
		case ObservedAssigned, ObservedRunning:
			t.open++
		case ObservedCommitted:
			t.committed++
		case ObservedRevealed, ObservedMatched, ObservedMismatched:
			t.revealed++
		case ObservedDeclined:
			t.declined++
		case ObservedLost:
			t.lost++
		}
	}
	return t
}

// part finds the signer's execution for a command about (job, round).
func (s *State) part(id digest.Digest, round uint32, who sign.PublicKey) (*Job, *Execution, error) {
	j, err := s.job(id)
	if err != nil {
		return nil, nil, err
	}
	x := j.Execution(who)
	if x == nil {
		return nil, nil, refusal("this node is not assigned to job " + id.String())
	}
	if round != j.Round || !x.in(j) {
		return nil, nil, refusal(fmt.Sprintf("late: job %s is in round %d, this node's part in round %d", id, j.Round, x.Round))
	}
	return j, x, nil
}

func (s *State) renew(at BlockContext, who sign.PublicKey, p *RenewLeases) error {
	kept := 0
	for _, ref := range p.Executions {
		j, x, err := s.part(ref.Job, ref.Round, who)
		if err != nil || !x.open(j) {
			continue
		}
		x.Observed, x.LeaseMs = ObservedRunning, satAdd(at.TimestampMs, s.law.genesis.Params.LeaseMs)
		s.saveJob(j)
		kept++
	}
	if kept == 0 {
		return refusal("none of these executions is this node's to keep any more")
	}
	return nil
}

func (s *State) commit(at BlockContext, who sign.PublicKey, p *Commit) error {
	j, x, err := s.part(p.Job, p.Round, who)
	if err != nil {
		return err
	}
	if j.Status != StatusRunning && j.Status != StatusCommitting {
		return refusal("late: job " + j.ID.String() + " takes no more commits, it is " + string(j.Status))
	}
	if !x.open(j) {
		return refusal("this node's execution of job " + j.ID.String() + " is " + string(x.Observed) + " already")
	}
	x.Observed, x.Hash = ObservedCommitted, p.Hash
	s.release(j, x)
	if j.CommitEndMs == 0 {
		j.Status, j.CommitEndMs = StatusCommitting, satAdd(at.TimestampMs, s.law.genesis.Params.CommitWindowMs)
	}
	s.emit(EventCommitted, who, j.ID, "accepted", "", p)
	s.settle(at, j)
	s.saveJob(j)
	return nil
}

func (s *State) decline(at BlockContext, who sign.PublicKey, p *Decline) error {
	j, x, err := s.part(p.Job, p.Round, who)
	if err != nil {
		return err
	}
	if j.Status != StatusRunning && j.Status != StatusCommitting {
		return refusal("late: job " + j.ID.String() + " takes no more answers, it is " + string(j.Status))
	}
	if !x.open(j) {
		return refusal("this node's execution of job " + j.ID.String() + " is " + string(x.Observed) + " already")
	}
	x.Observed, x.Reason, x.Detail = ObservedDeclined, p.Reason, p.Detail
	s.drop(j, x)
	s.emit(EventDeclined, who, j.ID, p.Reason, p.Detail, p)
	s.settle(at, j)
	s.saveJob(j)
	return nil
}

// reveal opens a commit. One that comes after the seal is recorded, and a dissent in it costs as much as one in time;
// the seal stays as it is.
func (s *State) reveal(at BlockContext, who sign.PublicKey, p *Reveal) error {
	j, x, err := s.part(p.Job, p.Round, who)
	if err != nil {
		return err
	}
	if j.Status != StatusRevealing && j.Status != StatusSealed {
		return refusal("job " + j.ID.String() + " takes no reveals, it is " + string(j.Status))
	}
	if x.Observed != ObservedCommitted {
		return refusal("this node's execution of job " + j.ID.String() + " is " + string(x.Observed) + ", not committed")
	}
	var w receipt.Work
	if !s.get(key(keyWorks, j.ID[:]), &w) {
		s.corrupt(key(keyWorks, j.ID[:]), fmt.Errorf("a job without its work"))
		return nil
	}
	payload := receipt.NewStatement(s.chain, j.ID, j.Round, &w, &p.Outcome, p.Keyed).Payload()
	if len(payload) > receipt.MaxStatementBytes {
		return refusal("the statement is longer than a receipt may be")
	}
	st := digest.Sum("bpi/statement/1", payload)
	if CommitHash(j.ID, j.Round, who, st, p.Salt) != x.Hash {
		return refusal("the reveal does not open this node's commit for job " + j.ID.String())
	}
	if !sign.VerifyBoth(who, receipt.PAE(receipt.PayloadType, payload), p.Sig) {
		return refusal("the statement's signature is not this node's")
	}
	x.Observed, x.Statement, x.Sig = ObservedRevealed, st, p.Sig
	body := &RevealedBody{Round: j.Round, Statement: st, Outcome: p.Outcome}
	if j.Status == StatusSealed {
		x.LateReveal = true
		s.emit(EventRevealed, who, j.ID, "late", "the job was sealed before; the seal stays", body)
		s.judge(at, j, x)
	} else {
		s.emit(EventRevealed, who, j.ID, "accepted", "", body)
		s.count(at, j, x, p)
	}
	s.saveJob(j)
	return nil
}

// count seals the job if x's statement has its quorum, and closes the round if no reveal is awaited any more. A seal
// does not wait for the other committed peers: latency counts for more, and a dissent of theirs is still recorded.
func (s *State) count(at BlockContext, j *Job, x *Execution, p *Reveal) {
	same := uint32(0)
	for i := range j.Executions {
		if y := &j.Executions[i]; y.in(j) && y.Observed == ObservedRevealed && y.Statement == x.Statement {
			same++
		}
	}
	if same >= j.RoundQ {
		s.seal(at, j, x.Statement, p)
		return
	}
	if j.tally().committed == 0 {
		s.closeReveals(at, j)
	}
}

func (s *State) seal(at BlockContext, j *Job, st digest.Digest, p *Reveal) {
	v := receipt.Seal{
		Job: j.ID, Client: j.Client, OnBehalf: j.OnBehalf, Work: j.WorkDigest, Statement: st, Round: j.Round,
		Placement: j.Placement(), Outputs: p.Outcome.Outputs, ExitCode: p.Outcome.ExitCode,
	}
	for i := range j.Executions {
		x := &j.Executions[i]
		if !x.in(j) {
			continue
		}
		switch {
		case x.Observed == ObservedRevealed && x.Statement == st:
			v.Agreeing = append(v.Agreeing, x.Peer)
		case x.Observed == ObservedRevealed:
			v.Dissent = append(v.Dissent, x.Peer)
		case x.Observed == ObservedDeclined:
			v.Declined = append(v.Declined, x.Peer)
		case x.Observed == ObservedLost:
			v.Lost = append(v.Lost, x.Peer)
		}
	}
	v.Agreeing, v.Dissent = sortedKeys(v.Agreeing), sortedKeys(v.Dissent)
	v.Declined, v.Lost = sortedKeys(v.Declined), sortedKeys(v.Lost)
	j.Statement, j.Keyed, j.Outcome = st, p.Keyed, []receipt.Outcome{p.Outcome}
	s.end(at, j, StatusSealed)
	s.emit(receipt.KindJobSealed, sign.PublicKey{}, j.ID, "sealed",
		fmt.Sprintf("%d of %d peers agree", len(v.Agreeing), j.RoundR), &v)
	for i := range j.Executions {
		if x := &j.Executions[i]; x.in(j) && x.Observed == ObservedRevealed {
			s.judge(at, j, x)
		}
	}
}

// judge compares a reveal with the seal, and strikes a dissenter.
func (s *State) judge(at BlockContext, j *Job, x *Execution) {
	if x.Statement == j.Statement {
		x.Observed = ObservedMatched
		return
	}
	x.Observed = ObservedMismatched
	n, ok := s.node(x.Peer)
	if !ok {
		return
	}
	n.Strikes, n.StrikeMs = min(n.StrikesAt(at.TimestampMs)+strikePoints, maxStrikes), at.TimestampMs
	s.putNode(n)
	s.emit(EventStrike, sign.PublicKey{}, j.ID, "struck", "dissent from the seal", x.Peer)
}

// tick does what is due for a job at the agreed time.
func (s *State) tick(at BlockContext, j *Job) {
	now := at.TimestampMs
	switch j.Status {
	case StatusPending, StatusQueued:
		if now >= j.QueueEndMs {
			s.expire(at, j)
		}
	case StatusRunning, StatusCommitting:
		for i := range j.Executions {
			x := &j.Executions[i]
			switch {
			case !x.open(j):
			case x.LeaseMs <= now:
				s.lose(j, x, "the lease ran out")
				s.suspect(x.Peer)
			case j.RoundEndMs <= now:
				s.lose(j, x, "the round's time is over")
			}
		}
		s.settle(at, j)
	case StatusRevealing:
		if now >= j.RevealEndMs {
			s.closeReveals(at, j)
		}
	}
	s.saveJob(j)
}

func (s *State) lose(j *Job, x *Execution, why string) {
	x.Observed = ObservedLost
	s.drop(j, x)
	s.emit(EventLost, sign.PublicKey{}, j.ID, "lost", why, x.Peer)
}

// drop ends an execution's claim on its node.
func (s *State) drop(j *Job, x *Execution) {
	s.release(j, x)
	s.del(key(keyAssigned, x.Peer[:], j.ID[:]))
}

func (s *State) suspect(peer sign.PublicKey) {
	if n, ok := s.node(peer); ok && !n.Suspect {
		n.Suspect = true
		s.putNode(n)
	}
}
