package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Bounds on what a command may carry. MaxCommandBytes bounds the whole.
const (
	MaxNoteBytes     = 256
	MaxOnBehalfBytes = 128
	MaxDetailBytes   = 256
	MaxEngines       = 64
	MaxLabels        = 32
	MaxLabelBytes    = 64
	MaxRefs          = 1024 // executions of RenewLeases, manifests of HoldBlobs
	MaxBlobs         = 2048 // of a manifest
	MaxHolders       = 16
	MaxSlots         = 1024
	MaxPriority      = 9
	MaxBlobBytes     = 1 << 46
	MaxImageBytes    = 1 << 34
)

// Payload is the decoded body of a command; DecodePayload says which.
type Payload interface {
	check() error
}

// DecodePayload reads the body of a command and checks its form and bounds, all that can be checked without the state.
func (b *CommandBody) DecodePayload() (Payload, error) {
	var p Payload
	switch b.Kind {
	case KindSubmitJob:
		p = new(SubmitJob)
	case KindCancelJob:
		p = new(CancelJob)
	case KindRegisterNode:
		p = new(RegisterNode)
	case KindRenewLeases:
		p = new(RenewLeases)
	case KindCommit:
		p = new(Commit)
	case KindDecline:
		p = new(Decline)
	case KindReveal:
		p = new(Reveal)
	case KindPublishDataset:
		p = new(PublishDataset)
	case KindPublishImage:
		p = new(PublishImage)
	case KindWithdraw:
		p = new(Withdraw)
	case KindHoldBlobs:
		p = new(HoldBlobs)
	case KindProposeValidators:
		p = new(ProposeValidators)
	case KindReportEvidence:
		p = new(ReportEvidence)
	default:
		return nil, fmt.Errorf("command of unknown kind %.40q: this chain's version does not know it", b.Kind)
	}
	if err := canon.Unmarshal(b.Payload, p); err != nil {
		return nil, &formError{kind: b.Kind, err: err}
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Kind, err)
	}
	return p, nil
}

// formError is a payload that the decoder refused. Its event says only that: the decoder's words are a library's, and
// what is replicated must not hang on its version.
type formError struct {
	kind Kind
	err  error
}

func (e *formError) Error() string { return fmt.Sprintf("%s: %v", e.kind, e.err) }
func (e *formError) Unwrap() error { return e.err }

// NewBody makes the body of a command. The payload must be one of the types that DecodePayload knows.
func NewBody(chainID digest.Digest, expiresMs uint64, nonce [16]byte, p Payload) (CommandBody, error) {
	b := CommandBody{ChainID: chainID, ExpiresMs: expiresMs, Nonce: nonce}
	switch p.(type) {
	case *SubmitJob:
		b.Kind = KindSubmitJob
	case *CancelJob:
		b.Kind = KindCancelJob
	case *RegisterNode:
		b.Kind = KindRegisterNode
	case *RenewLeases:
		b.Kind = KindRenewLeases
	case *Commit:
		b.Kind = KindCommit
	case *Decline:
		b.Kind = KindDecline
	case *Reveal:
		b.Kind = KindReveal
	case *PublishDataset:
		b.Kind = KindPublishDataset
	case *PublishImage:
		b.Kind = KindPublishImage
	case *Withdraw:
		b.Kind = KindWithdraw
	case *HoldBlobs:
		b.Kind = KindHoldBlobs
	case *ProposeValidators:
		b.Kind = KindProposeValidators
	case *ReportEvidence:
		b.Kind = KindReportEvidence
	default:
		return b, fmt.Errorf("make a command: %T is no command's body", p)
	}
	if err := p.check(); err != nil {
		return b, fmt.Errorf("%s: %w", b.Kind, err)
	}
	var err error
	b.Payload, err = canon.Marshal(p)
	return b, err
}

func (p *SubmitJob) check() error {
	if p.R == 0 || p.R > MaxPeersPerRound {
		return fmt.Errorf("r = %d peers: want 1 to %d", p.R, MaxPeersPerRound)
	}
	if p.Q > p.R || p.Q <= p.R/2 {
		return fmt.Errorf("q = %d of r = %d: want more than half of r, and at most r", p.Q, p.R)
	}
	if p.Priority > MaxPriority {
		return fmt.Errorf("priority %d: want 0 to %d", p.Priority, MaxPriority)
	}
	if err := checkText("on behalf of", p.OnBehalf, MaxOnBehalfBytes); err != nil {
		return err
	}
	if err := checkText("note", p.Note, MaxNoteBytes); err != nil {
		return err
	}
	return CheckWork(&p.Work)
}

func (p *CancelJob) check() error { return checkDigest("job", p.Job) }

func (p *RegisterNode) check() error {
	if p.Operator.IsZero() {
		return fmt.Errorf("no operator key")
	}
	if len(p.Engines) > MaxEngines || len(p.Policies) > MaxEngines || len(p.Labels) > MaxLabels {
		return fmt.Errorf("%d engines, %d policies, %d labels: at most %d, %d and %d", len(p.Engines), len(p.Policies), len(p.Labels), MaxEngines, MaxEngines, MaxLabels)
	}
	if !sortedDigests(p.Engines) || !sortedDigests(p.Policies) {
		return fmt.Errorf("engines or policies: want them sorted, each once")
	}
	for i, l := range p.Labels {
		if l == "" || len(l) > MaxLabelBytes || !printable(l) {
			return fmt.Errorf("label %.40q: want 1 to %d printable characters", l, MaxLabelBytes)
		}
		if i > 0 && p.Labels[i-1] >= l {
			return fmt.Errorf("label %.40q: want labels sorted, each once", l)
		}
	}
	if len(p.CPUClass) > 32 || !printable(p.CPUClass) {
		return fmt.Errorf("CPU class %.40q: want at most 32 printable characters", p.CPUClass)
	}
	if p.Slots > MaxSlots || p.Memory > 1<<50 {
		return fmt.Errorf("%d slots and %d bytes of memory: at most %d and %d", p.Slots, p.Memory, MaxSlots, uint64(1<<50))
	}
	return checkText("reason", p.Reason, MaxDetailBytes)
}

func (p *RenewLeases) check() error {
	if len(p.Executions) == 0 || len(p.Executions) > MaxRefs {
		return fmt.Errorf("%d executions: want 1 to %d", len(p.Executions), MaxRefs)
	}
	for i, r := range p.Executions {
		if i > 0 && p.Executions[i-1].Job.Compare(r.Job) >= 0 {
			return fmt.Errorf("execution %d: want them sorted by job, each once", i)
		}
		if err := checkRound(r.Job, r.Round); err != nil {
			return err
		}
	}
	return nil
}

func (p *Commit) check() error {
	if err := checkDigest("commit hash", p.Hash); err != nil {
		return err
	}
	return checkRound(p.Job, p.Round)
}

func (p *Decline) check() error {
	switch p.Reason {
	case DeclineInputs, DeclineNoResult, DeclinePolicy, DeclineEngine, DeclineTrouble:
	default:
		return fmt.Errorf("reason %.40q: want %s, %s, %s, %s or %s", p.Reason, DeclineInputs, DeclineNoResult, DeclinePolicy, DeclineEngine, DeclineTrouble)
	}
	if err := checkText("detail", p.Detail, MaxDetailBytes); err != nil {
		return err
	}
	return checkRound(p.Job, p.Round)
}

func (p *Reveal) check() error {
	if err := p.Outcome.Check(); err != nil {
		return err
	}
	return checkRound(p.Job, p.Round)
}

func (p *HoldBlobs) check() error {
	if len(p.Manifests) == 0 || len(p.Manifests) > MaxRefs {
		return fmt.Errorf("%d manifests: want 1 to %d", len(p.Manifests), MaxRefs)
	}
	if !sortedDigests(p.Manifests) {
		return fmt.Errorf("manifests: want them sorted, each once")
	}
	return nil
}
