package enc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// KindSQL is the one kind of work so far.
const KindSQL = "sql"

// Bounds on what a command may carry. MaxCommandBytes bounds the whole.
const (
	MaxArgs          = 256
	MaxPathBytes     = 512
	MaxOriginBytes   = 256
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

	MaxWorkMemory    = 64 << 30
	MaxWorkOutput    = 1 << 30
	MaxWorkFiles     = 1 << 16
	MaxWorkProcesses = 1 << 10
	MaxWorkMs        = 3600_000 // CPU and wall time
	MaxBlobBytes     = 1 << 46
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
	case KindHoldBlobs:
		p = new(HoldBlobs)
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
	case *HoldBlobs:
		b.Kind = KindHoldBlobs
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
	return checkWork(&p.Work)
}

func checkWork(w *receipt.Work) error {
	if w.Kind != KindSQL {
		return fmt.Errorf("work of kind %.40q: this network runs %q", w.Kind, KindSQL)
	}
	if w.Engine.IsZero() || w.Policy.IsZero() {
		return fmt.Errorf("work without an engine or a policy: both are named by digest")
	}
	if w.CPUClass == "" || len(w.CPUClass) > 32 || !printable(w.CPUClass) {
		return fmt.Errorf("CPU class %.40q: want 1 to 32 printable characters", w.CPUClass)
	}
	if len(w.Args) > MaxArgs || len(w.Env) > MaxArgs {
		return fmt.Errorf("%d arguments and %d environment variables: at most %d each", len(w.Args), len(w.Env), MaxArgs)
	}
	for i, a := range w.Args {
		if len(a) > 64<<10 || !utf8.ValidString(a) || strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %d: want at most 65536 bytes of UTF-8 without a NUL", i)
		}
	}
	last := ""
	for i, e := range w.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || !utf8.ValidString(e) || strings.ContainsRune(e, 0) {
			return fmt.Errorf("environment variable %d: %.40q is not NAME=value", i, e)
		}
		if i > 0 && name <= last {
			return fmt.Errorf("environment variable %.40q: want them sorted by name, each once", name)
		}
		last = name
	}
	if len(w.Stdin) > receipt.MaxStdinBytes {
		return fmt.Errorf("standard input of %d bytes: at most %d", len(w.Stdin), receipt.MaxStdinBytes)
	}
	if len(w.Inputs) > receipt.MaxInputs {
		return fmt.Errorf("%d inputs: at most %d", len(w.Inputs), receipt.MaxInputs)
	}
	files := make(map[string]bool, len(w.Inputs))
	for i := range w.Inputs {
		in := &w.Inputs[i]
		files[in.Path] = true
		if !cleanPath(in.Path) {
			return fmt.Errorf("input %d: path %.80q: want a clean relative path of at most %d printable characters", i, in.Path, MaxPathBytes)
		}
		if i > 0 && w.Inputs[i-1].Path >= in.Path {
			return fmt.Errorf("input %.80q: want inputs sorted by path, each once", in.Path)
		}
		if in.Digest.IsZero() || in.Bytes > MaxBlobBytes {
			return fmt.Errorf("input %.80q: want a digest, and at most %d bytes", in.Path, uint64(MaxBlobBytes))
		}
		if err := checkText("origin of input", in.Origin, MaxOriginBytes); err != nil {
			return err
		}
	}
	for i := range w.Inputs {
		for at, c := range w.Inputs[i].Path {
			if c == '/' && files[w.Inputs[i].Path[:at]] {
				return fmt.Errorf("input %.80q lies below input %.80q, which is a file", w.Inputs[i].Path, w.Inputs[i].Path[:at])
			}
		}
	}
	l := &w.Limits
	for _, x := range []struct {
		what      string
		have, max uint64
	}{
		{"memory", l.MemoryBytes, MaxWorkMemory}, {"output", l.OutputBytes, MaxWorkOutput},
		{"open files", uint64(l.Files), MaxWorkFiles}, {"processes", uint64(l.Processes), MaxWorkProcesses},
		{"CPU milliseconds", l.CPUMs, MaxWorkMs}, {"wall milliseconds", l.WallMs, MaxWorkMs},
	} {
		if x.have == 0 || x.have > x.max {
			return fmt.Errorf("limit of %s %d: want 1 to %d", x.what, x.have, x.max)
		}
	}
	return nil
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

func (p *PublishDataset) check() error {
	if !validName(p.Name) {
		return fmt.Errorf("name %.80q: want 1 to 63 of a-z, 0-9, _ and -, first a letter", p.Name)
	}
	if len(p.Blobs) == 0 || len(p.Blobs) > MaxBlobs {
		return fmt.Errorf("%d blobs: want 1 to %d", len(p.Blobs), MaxBlobs)
	}
	if p.Holders > MaxHolders {
		return fmt.Errorf("%d holders: at most %d", p.Holders, MaxHolders)
	}
	if p.Rows > 1<<60 {
		return fmt.Errorf("%d rows: over the limit", p.Rows)
	}
	found := false
	for i, b := range p.Blobs {
		if i > 0 && p.Blobs[i-1].Digest.Compare(b.Digest) >= 0 {
			return fmt.Errorf("blob %s: want blobs sorted by digest, each once", b.Digest.Short())
		}
		if b.Digest.IsZero() || b.Bytes > MaxBlobBytes {
			return fmt.Errorf("blob %s of %d bytes: want a digest, and at most %d bytes", b.Digest.Short(), b.Bytes, uint64(MaxBlobBytes))
		}
		found = found || b.Digest == p.Manifest
	}
	if !found {
		return fmt.Errorf("manifest %s is not among the blobs", p.Manifest.Short())
	}
	return nil
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
