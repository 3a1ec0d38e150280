package receipt

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/light"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Status is the outcome of one step of a verification.
type Status string

// The outcomes. What cannot be checked is NotChecked, and never OK.
const (
	OK         Status = "ok"
	Failed     Status = "FAILED"
	NotChecked Status = "not checked"
)

// Names of the steps of Verify, in order.
const (
	StepParse       = "receipt"     // its form and version, and the chain's name and id
	StepSignatures  = "signatures"  // q distinct keys of distinct operators signed the statement, all assigned
	StepSeal        = "seal"        // the seal is of this statement, and consistent
	StepOutputs     = "outputs"     // outputs at hand have the sealed digests
	StepInclusion   = "inclusion"   // the seal is an event of the block
	StepCertificate = "certificate" // the block is final
	StepHandovers   = "handovers"   // the validators follow from the trust file
	StepReexecute   = "re-execute"  // the work gives the same outputs again
)

// Step is one line of a report.
type Step struct {
	Name      string `json:"name"`
	Status    Status `json:"status"`
	Detail    string `json:"detail"`
	Mandatory bool   `json:"mandatory"`
}

// Report says what was checked. After a step that failed, those that rest on it are not checked.
type Report struct {
	Steps []Step `json:"steps"`
	// Statement and Seal are what the receipt claims; nil if it could not be read so far. They are worth nothing if
	// the report is not valid.
	Statement *Statement `json:"-"`
	Seal      *Seal      `json:"-"`
}

// Valid reports whether every mandatory step is ok and none failed.
func (r *Report) Valid() bool {
	for _, s := range r.Steps {
		if s.Status == Failed || (s.Mandatory && s.Status != OK) {
			return false
		}
	}
	return len(r.Steps) > 0
}

// Set replaces a step's outcome: for whoever has run the work again.
func (r *Report) Set(name string, status Status, detail string) {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			r.Steps[i].Status, r.Steps[i].Detail = status, detail
		}
	}
}

// Verify checks a receipt against a trust file, with no network and no clock. outputs are bytes at hand by output
// name, besides those in the receipt; nil if there are none. Without any output the step is not checked and the
// receipt may be valid all the same: it proves what the network sealed, not what a file holds.
func Verify(r *Receipt, t *TrustFile, outputs map[string][]byte) *Report {
	v := verifier{receipt: r, trust: t, outputs: outputs, report: &Report{}}
	ok := v.step(StepParse, true, v.form)
	if ok {
		ok = v.step(StepSignatures, true, v.signatures)
	} else {
		v.skip(StepSignatures, true)
	}
	sealed := ok && v.step(StepSeal, true, v.sealOfStatement)
	if !ok {
		v.skip(StepSeal, true)
	}
	if sealed {
		v.outputStep()
	} else {
		v.skip(StepOutputs, false)
	}
	if v.event != nil {
		v.step(StepInclusion, true, v.inclusion)
	} else {
		v.skip(StepInclusion, true)
	}
	if v.finality != nil {
		// The handovers give the validators to check the certificate with.
		detail, err := v.handovers()
		if err == nil {
			v.step(StepCertificate, true, v.certificate)
		} else {
			v.skip(StepCertificate, true)
		}
		v.step(StepHandovers, true, func() (string, error) { return detail, err })
	} else {
		v.skip(StepCertificate, true)
		v.skip(StepHandovers, true)
	}
	v.add(StepReexecute, NotChecked, "the work was not run again", false)
	return v.report
}

// VerifyText is Parse and Verify. Text that cannot be read gives a report whose first step failed.
func VerifyText(text []byte, t *TrustFile, outputs map[string][]byte) (*Receipt, *Report) {
	r, err := Parse(text)
	if err == nil {
		return r, Verify(r, t, outputs)
	}
	v := verifier{report: &Report{}}
	v.add(StepParse, Failed, err.Error(), true)
	for _, name := range []string{StepSignatures, StepSeal, StepInclusion, StepCertificate, StepHandovers} {
		v.skip(name, true)
	}
	return nil, v.report
}

type verifier struct {
	receipt  *Receipt
	trust    *TrustFile
	outputs  map[string][]byte
	report   *Report
	client   *light.Client // in the trust file's epoch, and then in the block's
	event    *Event
	finality *consensus.Finality
}

func (v *verifier) add(name string, s Status, detail string, mandatory bool) {
	v.report.Steps = append(v.report.Steps, Step{name, s, detail, mandatory})
}

func (v *verifier) skip(name string, mandatory bool) {
	v.add(name, NotChecked, "rests on a step that failed", mandatory)
}

func (v *verifier) step(name string, mandatory bool, check func() (string, error)) bool {
	detail, err := check()
	if err != nil {
		v.add(name, Failed, err.Error(), mandatory)
		return false
	}
	v.add(name, OK, detail, mandatory)
	return true
}

// form reads all parts, and checks those that need no other.
func (v *verifier) form() (string, error) {
	r, t := v.receipt, v.trust
	if err := r.check(); err != nil {
		return "", err
	}
	if err := t.Check(); err != nil {
		return "", err
	}
	client, err := t.client()
	if err != nil {
		return "", err
	}
	v.client = client
	if r.Chain != t.Chain {
		return "", fmt.Errorf("receipt of chain %s (%s): the trust file is for %s (%s)", r.Chain.DisplayName(), r.Chain.ID.Short(), t.Chain.DisplayName(), t.Chain.ID.Short())
	}
	st, err := ParseStatement(r.Envelope.Payload)
	if err != nil {
		return "", err
	}
	if st.ChainID != t.Chain.ID {
		return "", fmt.Errorf("statement of chain %s: the receipt is of %s", st.ChainID.Short(), t.Chain.ID.Short())
	}
	v.report.Statement = &st
	var e Event
	if err := canon.Unmarshal(r.Seal.Event, &e); err != nil {
		return "", fmt.Errorf("read the seal's event: %w", err)
	}
	if e.Kind != KindJobSealed {
		return "", fmt.Errorf("event of kind %.40q: want %q", e.Kind, KindJobSealed)
	}
	v.event = &e
	var s Seal
	if err := canon.Unmarshal(e.Body, &s); err != nil {
		return "", fmt.Errorf("read the seal: %w", err)
	}
	v.report.Seal = &s
	if v.finality, err = r.Finality.decode(); err != nil {
		return "", err
	}
	return fmt.Sprintf("job %s on chain %s, block %d", st.Job.Short(), t.Chain.DisplayName(), v.finality.Header().Height), nil
}

// NewCertificate is the public form of a finality proof.
func NewCertificate(f *consensus.Finality) Certificate {
	c := Certificate{Headers: [][]byte{}, QC: canon.Must(&f.QC)}
	for i := range f.Headers {
		c.Headers = append(c.Headers, canon.Must(&f.Headers[i]))
	}
	return c
}

func (c *Certificate) decode() (*consensus.Finality, error) {
	if len(c.Headers) == 0 || len(c.Headers) > MaxHeaders {
		return nil, fmt.Errorf("finality proof with %d headers: want 1 to %d", len(c.Headers), MaxHeaders)
	}
	f := &consensus.Finality{Headers: make([]consensus.Header, len(c.Headers))}
	for i, raw := range c.Headers {
		if err := canon.Unmarshal(raw, &f.Headers[i]); err != nil {
			return nil, fmt.Errorf("read header %d: %w", i, err)
		}
	}
	qc, err := consensus.DecodeQC(c.QC)
	if err != nil {
		return nil, fmt.Errorf("read the quorum certificate: %w", err)
	}
	f.QC = *qc
	return f, nil
}

// signatures: at least q distinct keys of as many operators, each of them assigned to the job and counted as agreeing by
// the seal.
func (v *verifier) signatures() (string, error) {
	keys, err := v.receipt.Envelope.verify()
	if err != nil {
		return "", err
	}
	s := v.report.Seal
	p := &s.Placement
	if p.R == 0 || p.Q == 0 || 2*uint64(p.Q) <= uint64(p.R) {
		return "", fmt.Errorf("quorum of %d in %d: want more than half", p.Q, p.R)
	}
	assigned := map[sign.PublicKey]sign.PublicKey{} // peer → its operator
	for _, a := range p.Peers {
		if _, twice := assigned[a.Peer]; twice || a.Operator.IsZero() {
			return "", fmt.Errorf("placement of %s: want each peer once, with its operator", a.Peer.Short())
		}
		assigned[a.Peer] = a.Operator
	}
	agreed := map[sign.PublicKey]sign.PublicKey{} // operator → its peer
	for _, k := range keys {
		operator, ok := assigned[k]
		if !ok {
			return "", fmt.Errorf("%s signed and was not assigned to the job", k.Short())
		}
		if other, twice := agreed[operator]; twice {
			return "", fmt.Errorf("%s and %s signed, both of operator %s: who runs two peers counts once", other.Short(), k.Short(), operator.Short())
		}
		agreed[operator] = k
	}
	if uint64(len(keys)) < uint64(p.Q) {
		return "", fmt.Errorf("%d signatures: want %d", len(keys), p.Q)
	}
	if !equalKeys(keys, s.Agreeing) {
		return "", errors.New("the signers are not the peers that the seal counts as agreeing")
	}
	detail := fmt.Sprintf("%d of %d peers assigned signed; %d were needed", len(keys), len(p.Peers), p.Q)
	if p.R == 1 {
		detail += "; the job asked for one peer, whom nobody checked"
	}
	return detail, nil
}

func equalKeys(a, b []sign.PublicKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// sealOfStatement: the seal names this statement, and repeats what is in it.
func (v *verifier) sealOfStatement() (string, error) {
	st, s := v.report.Statement, v.report.Seal
	w, o := &st.Work, &st.Outcome
	switch {
	case s.Statement != st.Digest():
		return "", errors.New("the seal is of another statement")
	case s.Job != st.Job || v.event.Subject != st.Job:
		return "", errors.New("the seal is of another job")
	case s.Work != w.Digest():
		return "", errors.New("the seal is of other work")
	case s.Round != st.Round:
		return "", fmt.Errorf("the seal is of round %d, the statement of %d", s.Round, st.Round)
	case s.ExitCode != o.ExitCode:
		return "", fmt.Errorf("the seal has exit code %d, the statement %d", s.ExitCode, o.ExitCode)
	case !bytes.Equal(canon.Must(s.Outputs), canon.Must(o.Outputs)):
		return "", errors.New("the seal has other outputs than the statement")
	}
	detail := fmt.Sprintf("round %d, exit code %d, %d outputs", s.Round, s.ExitCode, len(s.Outputs))
	if s.OnBehalf != "" {
		detail += fmt.Sprintf("; client %s signed for %.128q", s.Client.Short(), s.OnBehalf)
	}
	return detail, nil
}

// outputStep compares outputs at hand. If all are, the keyed digest is checked too.
func (v *verifier) outputStep() {
	at := map[string][]byte{}
	for _, a := range v.receipt.Outputs {
		at[a.Name] = a.Content
	}
	st := v.report.Statement
	check := func(outputs map[string][]byte) (int, error) {
		n := 0
		for _, o := range st.Outcome.Outputs {
			b, ok := outputs[o.Name]
			if !ok {
				continue
			}
			if uint64(len(b)) != o.Bytes || digest.Of(b) != o.Digest {
				return 0, fmt.Errorf("output %.80q is not what was sealed", o.Name)
			}
			n++
		}
		if n != len(outputs) {
			return 0, errors.New("an output at hand is none of the sealed ones")
		}
		return n, nil
	}
	_, err := check(at)
	if err == nil {
		_, err = check(v.outputs)
	}
	for name, b := range v.outputs {
		at[name] = b
	}
	switch {
	case err != nil:
		v.add(StepOutputs, Failed, err.Error(), false)
	case len(at) == 0:
		v.add(StepOutputs, NotChecked, "no output at hand", false)
	case len(at) < len(st.Outcome.Outputs):
		v.add(StepOutputs, OK, fmt.Sprintf("%d of %d at hand, as sealed", len(at), len(st.Outcome.Outputs)), false)
	case KeyedOutput(st.Job, st.Round, at) != st.Keyed:
		v.add(StepOutputs, Failed, "the outputs do not give the statement's keyed digest", false)
	default:
		v.add(StepOutputs, OK, fmt.Sprintf("all %d, as sealed", len(at)), false)
	}
}

func (v *verifier) inclusion() (string, error) {
	if v.finality == nil {
		return "", errors.New("no header to be included in")
	}
	h := v.finality.Header()
	root, err := v.receipt.Seal.root()
	if err != nil {
		return "", err
	}
	if root != h.EventRoot {
		return "", fmt.Errorf("the seal is not among the events of block %d", h.Height)
	}
	return fmt.Sprintf("the seal is an event of block %d", h.Height), nil
}

func (v *verifier) certificate() (string, error) {
	if err := v.client.Check(v.finality); err != nil {
		return "", err
	}
	h := v.finality.Header()
	return fmt.Sprintf("block %d %s is final by %d validators of epoch %d", h.Height, h.ID().Short(), len(v.finality.QC.Sigs), h.Epoch), nil
}

// handovers: the validators of the block's epoch follow from those of the trust file, each set by the word of the one
// before; and no handover is too many.
func (v *verifier) handovers() (string, error) {
	c, h := v.trust.Checkpoint, v.finality.Header()
	if uint64(h.Epoch) < c.Epoch {
		return "", fmt.Errorf("block %d is of epoch %d, before the trust file's, %d: verify it against a trust file of that epoch or an earlier one", h.Height, h.Epoch, c.Epoch)
	}
	passed := 0
	for i := range v.receipt.Handovers {
		skip, err := v.trust.follow(v.client, &v.receipt.Handovers[i])
		if err != nil {
			return "", fmt.Errorf("handover %d: %w", i+1, err)
		}
		if skip {
			passed++
		}
	}
	if v.client.Epoch() != h.Epoch {
		return "", fmt.Errorf("block %d is of epoch %d, and the handovers lead from the trust file's epoch %d to %d: get the receipt again, or a trust file of the block's epoch", h.Height, h.Epoch, c.Epoch, v.client.Epoch())
	}
	for i := range v.finality.Headers {
		if err := v.trust.atCheckpoint(&v.finality.Headers[i]); err != nil {
			return "", err
		}
	}
	detail := fmt.Sprintf("none needed: the validators are the trust file's, of epoch %d", c.Epoch)
	if n := uint64(h.Epoch) - c.Epoch; n > 0 {
		detail = fmt.Sprintf("%d, from the trust file's epoch %d to %d", n, c.Epoch, h.Epoch)
	}
	if passed > 0 {
		detail += fmt.Sprintf("; %d from before it not looked at", passed)
	}
	return detail, nil
}
