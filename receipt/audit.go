package receipt

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// An audit file is a stretch of the chain's history, one JSON object a line:
//
//	{"type":"audit", ...}        once: format version, chain, first and last block
//	{"type":"block", ...}        a block's canonical header; its events follow
//	{"type":"event", ...}        who, what, when, decision, reason
//	{"type":"certificate", ...}  the block before it is final, and so is all above
//	{"type":"handover", ...}     the same of a block that closes an epoch, with the validators who follow; before the
//	                             first block, of earlier blocks, so that the validators are known
//	{"type":"end", ...}          once: the last block again, and how many events there were
//
// An event line's members are the canonical event, spelled out: VerifyAudit encodes them again and rebuilds the
// header's event root, so nothing in them can be edited, and headers name their parents. The last block always has a
// certificate.
const (
	lineAudit       = "audit"
	lineBlock       = "block"
	lineEvent       = "event"
	lineCertificate = "certificate"
	lineHandover    = "handover"
	lineEnd         = "end"
)

// AuditVersion is the version of the audit file's form.
const AuditVersion = 1

// MaxAuditLine bounds a line of an audit file, in bytes.
const MaxAuditLine = 8 << 20

type (
	auditLine struct {
		Type    string   `json:"type"`
		Version uint32   `json:"version"`
		Chain   ChainRef `json:"chain"`
		From    uint64   `json:"from"`
		To      uint64   `json:"to"`
	}
	blockLine struct {
		Type   string `json:"type"`
		Height uint64 `json:"height"`
		Header []byte `json:"header"`
	}
	eventLine struct {
		Type     string `json:"type"`
		Height   uint64 `json:"height"`
		Index    uint64 `json:"index"`
		Who      string `json:"who"`  // the actor's key, or "chain"
		What     string `json:"what"` // the event's kind
		Subject  string `json:"subject"`
		When     string `json:"when"` // the block's agreed time, RFC 3339 with milliseconds, UTC
		Decision string `json:"decision"`
		Reason   string `json:"reason"`
		Receipt  string `json:"receipt"` // the job whose receipt rests on this event, or ""
		Body     []byte `json:"body"`
	}
	certificateLine struct {
		Type string `json:"type"`
		Certificate
	}
	handoverLine struct {
		Type string `json:"type"`
		Handover
	}
	endLine struct {
		Type   string        `json:"type"`
		Height uint64        `json:"height"`
		Block  digest.Digest `json:"block"`
		Events uint64        `json:"events"`
	}
)

// whoChain stands for an event that no key caused.
const whoChain = "chain"

func lineOf(h *consensus.Header, index uint64, e *Event) eventLine {
	l := eventLine{
		Type: lineEvent, Height: uint64(h.Height), Index: index, Who: whoChain, What: e.Kind, Subject: e.Subject.String(),
		When: when(h), Decision: e.Decision, Reason: e.Reason, Body: append([]byte{}, e.Body...),
	}
	if !e.Actor.IsZero() {
		l.Who = e.Actor.String()
	}
	if e.Kind == KindJobSealed {
		l.Receipt = l.Subject
	}
	return l
}

func when(h *consensus.Header) string {
	return time.UnixMilli(int64(h.TimestampMs)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// event is the canonical event that the line spells out.
func (l *eventLine) event() (*Event, error) {
	e := &Event{Kind: l.What, Decision: l.Decision, Reason: l.Reason, Body: l.Body}
	var err error
	if e.Subject, err = digest.Parse(l.Subject); err != nil {
		return nil, err
	}
	if l.Who != whoChain {
		var k sign.PublicKey
		if err := k.UnmarshalText([]byte(l.Who)); err != nil {
			return nil, err
		}
		e.Actor = k
	}
	return e, nil
}

// AuditSink takes a stretch of history: every block in order with its events, a certificate after the last block at
// least, and End. Not for concurrent use.
type AuditSink interface {
	// Block takes a header and its events in canonical bytes.
	Block(h *consensus.Header, events [][]byte) error
	// Certificate takes the proof that the block before is final.
	Certificate(f *consensus.Finality) error
	// Handover takes the word of an epoch's validators for the next: in place of the certificate of the block before, which
	// closes the epoch, or, before the first block, of an earlier one.
	Handover(h *consensus.Handover) error
	// End finishes; the writer below stays open.
	End() error
}

// AuditWriter writes a verifiable audit file.
type AuditWriter struct {
	w      io.Writer
	last   *consensus.Header
	next   uint64
	to     uint64
	sure   bool
	events uint64
}

// NewAuditWriter begins an audit file of blocks from..to.
func NewAuditWriter(w io.Writer, chain ChainRef, from, to uint64) (*AuditWriter, error) {
	if from > to {
		return nil, fmt.Errorf("audit of blocks %d to %d: the first is above the last", from, to)
	}
	a := &AuditWriter{w: w, next: from, to: to}
	return a, a.line(auditLine{lineAudit, AuditVersion, chain, from, to})
}

func (a *AuditWriter) line(v any) error {
	b, err := marshal(v)
	if err != nil {
		return fmt.Errorf("write the audit file: %w", err)
	}
	if _, err := a.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write the audit file: %w", err)
	}
	return nil
}

// Block implements AuditSink.
func (a *AuditWriter) Block(h *consensus.Header, events [][]byte) error {
	if uint64(h.Height) != a.next || a.next > a.to {
		return fmt.Errorf("write the audit file: block %d in place of %d", h.Height, a.next)
	}
	kept := *h
	a.last, a.next, a.sure = &kept, a.next+1, false
	if err := a.line(blockLine{lineBlock, uint64(h.Height), canon.Must(h)}); err != nil {
		return err
	}
	return eachEvent(h, events, func(l *eventLine) error { a.events++; return a.line(l) })
}

func eachEvent(h *consensus.Header, events [][]byte, f func(*eventLine) error) error {
	for i, raw := range events {
		var e Event
		if err := canon.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("write the audit file: event %d of block %d: %w", i, h.Height, err)
		}
		l := lineOf(h, uint64(i), &e)
		if err := f(&l); err != nil {
			return err
		}
	}
	return nil
}

// Certificate implements AuditSink.
func (a *AuditWriter) Certificate(f *consensus.Finality) error {
	if a.last == nil || len(f.Headers) == 0 || f.Header().ID() != a.last.ID() {
		return fmt.Errorf("write the audit file: certificate of another block than the one before it")
	}
	a.sure = true
	return a.line(certificateLine{lineCertificate, NewCertificate(f)})
}

// Handover implements AuditSink.
func (a *AuditWriter) Handover(h *consensus.Handover) error {
	if a.last != nil {
		if h.Header().ID() != a.last.ID() {
			return fmt.Errorf("write the audit file: handover by another block than the one before it")
		}
		a.sure = true
	}
	return a.line(handoverLine{lineHandover, NewHandover(h)})
}

// End implements AuditSink.
func (a *AuditWriter) End() error {
	if a.last == nil || a.next != a.to+1 || !a.sure {
		return fmt.Errorf("write the audit file: it was to end with block %d and its certificate", a.to)
	}
	return a.line(endLine{lineEnd, a.to, a.last.ID(), a.events})
}

// AuditCSV writes events alone, for tables. Nothing in it can be verified: the headers and certificates are not there,
// and a cell that a spreadsheet would take for a formula has an apostrophe in front.
type AuditCSV struct{ w *csv.Writer }

// NewAuditCSV begins a table with its line of column names.
func NewAuditCSV(w io.Writer) (*AuditCSV, error) {
	a := &AuditCSV{csv.NewWriter(w)}
	return a, a.row("height", "index", "when", "who", "what", "subject", "decision", "reason", "receipt")
}

func (a *AuditCSV) row(cells ...string) error {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			cells[i] = "'" + c
		}
	}
	if err := a.w.Write(cells); err != nil {
		return fmt.Errorf("write the audit table: %w", err)
	}
	return nil
}

// Block implements AuditSink.
func (a *AuditCSV) Block(h *consensus.Header, events [][]byte) error {
	return eachEvent(h, events, func(l *eventLine) error {
		return a.row(strconv.FormatUint(l.Height, 10), strconv.FormatUint(l.Index, 10), l.When, l.Who, l.What, l.Subject, l.Decision, l.Reason, l.Receipt)
	})
}

// Certificate implements AuditSink; a table has no place for it.
func (a *AuditCSV) Certificate(*consensus.Finality) error { return nil }

// Handover implements AuditSink; a table has no place for it.
func (a *AuditCSV) Handover(*consensus.Handover) error { return nil }

// End implements AuditSink.
func (a *AuditCSV) End() error {
	a.w.Flush()
	if err := a.w.Error(); err != nil {
		return fmt.Errorf("write the audit table: %w", err)
	}
	return nil
}
