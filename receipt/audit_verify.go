package receipt

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/light"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// Names of the steps of VerifyAudit besides StepCertificate, in order.
const (
	StepLines   = "lines"   // every line is in its form and place
	StepHeaders = "headers" // every block follows the one before it
	StepEvents  = "events"  // every block's events are all there, unedited and in order
	StepEnd     = "end"     // the file is whole
	StepStart   = "start"   // it begins at the trust file's checkpoint, or contains it
)

var auditSteps = []string{StepLines, StepHeaders, StepEvents, StepCertificate, StepEnd}

// AuditReport says what was checked in an audit file, and what it covers.
type AuditReport struct {
	Report
	From   uint64 `json:"from"`
	To     uint64 `json:"to"` // last block read
	Events uint64 `json:"events"`
	Line   uint64 `json:"line"` // last line read: the offending one, if a step failed
}

// VerifyAudit reads an audit file as a stream and checks it against a trust file. It stops at the first line that is
// removed, edited, reordered or too many, and names it. What a file proves is the history of the blocks it covers,
// From to To: a shorter export of the same chain is as valid, so compare To with what you expect.
func VerifyAudit(r io.Reader, t *TrustFile) *AuditReport {
	v := &auditor{t: t, rep: &AuditReport{}}
	step, err := v.run(r)
	failed := false
	for _, name := range auditSteps {
		switch {
		case err != nil && name == step:
			v.rep.Steps = append(v.rep.Steps, Step{name, Failed, fmt.Sprintf("line %d: %v", v.rep.Line, err), true})
			failed = true
		case err != nil:
			v.rep.Steps = append(v.rep.Steps, Step{name, NotChecked, "the file was not read to its end", true})
		default:
			v.rep.Steps = append(v.rep.Steps, Step{name, OK, v.detail(name), true})
		}
	}
	if c := t.Checkpoint.Height; failed || c < v.rep.From || c > v.rep.To {
		v.rep.Steps = append(v.rep.Steps, Step{StepStart, NotChecked, fmt.Sprintf("the trust file's checkpoint, block %d, is not in the file", c), false})
	} else {
		v.rep.Steps = append(v.rep.Steps, Step{StepStart, OK, fmt.Sprintf("block %d is the trust file's checkpoint", c), false})
	}
	return v.rep
}

func (v *auditor) detail(step string) string {
	switch step {
	case StepHeaders:
		return fmt.Sprintf("blocks %d to %d, each naming the one before", v.rep.From, v.rep.To)
	case StepEvents:
		return fmt.Sprintf("%d, as the headers commit to them", v.rep.Events)
	case StepCertificate:
		return fmt.Sprintf("block %d is final, and with it those before", v.rep.To)
	}
	return fmt.Sprintf("%d", v.rep.Line)
}

type auditor struct {
	t    *TrustFile
	at   *light.Client // in the epoch of the validators that are believed so far
	rep  *AuditReport
	to   uint64
	last *consensus.Header
	rows merkle.Frontier // over last's events, as far as read
	sure bool            // last has its certificate
	end  bool
}

// run gives the step that failed, with the error.
func (v *auditor) run(r io.Reader) (string, error) {
	if err := v.t.Check(); err != nil {
		return StepLines, err
	}
	client, err := v.t.client()
	if err != nil {
		return StepLines, err
	}
	v.at = client
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), MaxAuditLine)
	for s.Scan() {
		v.rep.Line++
		if v.end {
			return StepEnd, errors.New("text after the end")
		}
		if step, err := v.line(s.Bytes()); err != nil {
			return step, err
		}
	}
	v.rep.Line++
	if err := s.Err(); err != nil {
		return StepLines, err
	}
	if !v.end {
		return StepEnd, errors.New("the file breaks off here: its end is missing")
	}
	v.rep.Line--
	return "", nil
}

func (v *auditor) line(b []byte) (string, error) {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return StepLines, fmt.Errorf("not a line of an audit file: %w", err)
	}
	if (v.rep.Line == 1) != (kind.Type == lineAudit) {
		return StepLines, fmt.Errorf("line of type %.20q: the first line, and no other, is of type %q", kind.Type, lineAudit)
	}
	switch kind.Type {
	case lineAudit:
		return StepLines, v.begin(b)
	case lineBlock:
		return v.block(b)
	case lineEvent:
		return v.event(b)
	case lineCertificate:
		return v.certificate(b)
	case lineHandover:
		return v.handover(b)
	case lineEnd:
		return v.finish(b)
	}
	return StepLines, fmt.Errorf("line of unknown type %.20q", kind.Type)
}

func (v *auditor) begin(b []byte) error {
	var l auditLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return err
	}
	switch {
	case l.Version != AuditVersion:
		return fmt.Errorf("audit file of version %d: this program reads version %d", l.Version, AuditVersion)
	case l.Chain != v.t.Chain:
		return fmt.Errorf("audit file of chain %.40s (%s): the trust file is for %s (%s)", l.Chain.Name, l.Chain.ID.Short(), v.t.Chain.Name, v.t.Chain.ID.Short())
	case l.From > l.To:
		return fmt.Errorf("audit file of blocks %d to %d: the first is above the last", l.From, l.To)
	}
	v.rep.From, v.to = l.From, l.To
	return nil
}

// closeBlock checks that all events of the block before are there.
func (v *auditor) closeBlock() error {
	if v.last != nil && v.rows.Root() != v.last.EventRoot {
		return fmt.Errorf("the %d events of block %d above this line are not the ones that its header commits to: one was removed, added, edited or moved", v.rows.Count(), v.last.Height)
	}
	return nil
}

func (v *auditor) block(b []byte) (string, error) {
	var l blockLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return StepLines, err
	}
	if err := v.closeBlock(); err != nil {
		return StepEvents, err
	}
	var h consensus.Header
	if err := canon.Unmarshal(l.Header, &h); err != nil {
		return StepHeaders, err
	}
	want := v.rep.From
	if v.last != nil {
		want = uint64(v.last.Height) + 1
	}
	c := v.t.Checkpoint
	switch {
	case uint64(h.Height) != want || l.Height != want || want > v.to:
		return StepHeaders, fmt.Errorf("block %d, said to be %d: want block %d, and %d as the last", h.Height, l.Height, want, v.to)
	case v.last != nil && h.Parent != v.last.ID():
		return StepHeaders, fmt.Errorf("block %d does not follow the block %d above", h.Height, v.last.Height)
	case h.Version != consensus.ProtocolVersion || h.ChainID != v.t.Chain.ID:
		return StepHeaders, fmt.Errorf("block %d is of another chain or protocol version", h.Height)
	case uint64(h.Height) == c.Height && h.ID() != c.Block:
		return StepHeaders, fmt.Errorf("block %d is not the trust file's checkpoint", h.Height)
	case v.last != nil && h.Epoch != v.last.NextEpoch():
		return StepHeaders, fmt.Errorf("block %d is of epoch %d, and the block above is followed by epoch %d", h.Height, h.Epoch, v.last.NextEpoch())
	}
	v.last, v.rows, v.sure, v.rep.To = &h, merkle.Frontier{}, false, want
	return "", nil
}

func (v *auditor) event(b []byte) (string, error) {
	var l eventLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return StepLines, err
	}
	if v.last == nil || v.sure {
		return StepLines, errors.New("event without a block before it")
	}
	e, err := l.event()
	if err != nil {
		return StepLines, err
	}
	again, err := marshal(lineOf(v.last, v.rows.Count(), e))
	if err != nil {
		return StepLines, err
	}
	if have, err := marshal(l); err != nil || string(have) != string(again) {
		return StepEvents, fmt.Errorf("event %d of block %d: want event %d of block %d, with the block's time and the event's own receipt", l.Index, l.Height, v.rows.Count(), v.last.Height)
	}
	leaf, err := canon.Marshal(e)
	if err != nil {
		return StepLines, err
	}
	v.rows.Append(leaf)
	v.rep.Events++
	return "", nil
}

func (v *auditor) certificate(b []byte) (string, error) {
	var l certificateLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return StepLines, err
	}
	if err := v.closeBlock(); err != nil {
		return StepEvents, err
	}
	if v.last == nil || v.sure {
		return StepLines, errors.New("certificate without a block before it")
	}
	f, err := l.decode()
	if err != nil {
		return StepCertificate, err
	}
	if f.Header().ID() != v.last.ID() {
		return StepCertificate, fmt.Errorf("the certificate is not of block %d", v.last.Height)
	}
	if uint64(v.last.Epoch) < v.t.Checkpoint.Epoch { // by validators from before the trust file's
		v.sure = v.atCheckpoint()
		return "", nil
	}
	if err := v.at.Check(f); err != nil {
		return StepCertificate, err
	}
	v.sure = true
	return "", nil
}

// handover follows the validators: of the block before, or, before the first block, of an earlier one.
func (v *auditor) handover(b []byte) (string, error) {
	var l handoverLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return StepLines, err
	}
	if err := v.closeBlock(); err != nil {
		return StepEvents, err
	}
	if err := l.check(); err != nil {
		return StepLines, err
	}
	o, err := l.decode()
	if err != nil {
		return StepCertificate, err
	}
	h := o.Header()
	switch {
	case v.last == nil && uint64(h.Height) >= v.rep.From:
		return StepLines, fmt.Errorf("handover by block %d before the first block, %d", h.Height, v.rep.From)
	case v.last != nil && (v.sure || h.ID() != v.last.ID()):
		return StepLines, fmt.Errorf("the handover is not by block %d, which stands above and needs one", v.last.Height)
	}
	passed, err := v.t.follow(v.at, &l.Handover)
	if err != nil {
		return StepCertificate, err
	}
	v.sure = v.last != nil && (!passed || v.atCheckpoint())
	return "", nil
}

// atCheckpoint reports whether the last block is the trust file's checkpoint, which needs no other proof.
func (v *auditor) atCheckpoint() bool { return uint64(v.last.Height) == v.t.Checkpoint.Height }

func (v *auditor) finish(b []byte) (string, error) {
	var l endLine
	if err := unmarshal(b, &l, "line", MaxAuditLine); err != nil {
		return StepLines, err
	}
	if err := v.closeBlock(); err != nil {
		return StepEvents, err
	}
	switch {
	case v.last == nil || uint64(v.last.Height) != v.to:
		return StepEnd, fmt.Errorf("the file ends before block %d: blocks are missing here", v.to)
	case !v.sure:
		return StepCertificate, fmt.Errorf("the last block, %d, has no certificate", v.to)
	case l.Height != v.to || l.Block != v.last.ID() || l.Events != v.rep.Events:
		return StepEnd, fmt.Errorf("the end names block %d with %d events in all: want %d with %d", l.Height, l.Events, v.to, v.rep.Events)
	}
	v.end = true
	return "", nil
}
