package receipt

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
)

// Limits of a receipt document.
const (
	MaxReceiptBytes  = 4 << 20
	MaxArchivedBytes = 64 << 10 // outputs inline, all together
	MaxEventBytes    = 1 << 20
	MaxPathLength    = 64
	MaxHeaders       = 1024
	MaxHandovers     = 1024 // who is further behind needs a newer trust file
)

// Version is the version of the receipt's form.
const Version = 1

// Receipt answers, offline and years later: which work was done, on which inputs, by which peers, who agreed, and
// where the network wrote it down. Its public form is JSON; what the chain hashed is in it as base64 of the very
// bytes. Verify checks every field of it against another one or the trust file; there is none that may change, but for
// handovers from before the trust file's epoch, which are not looked at.
type Receipt struct {
	Version   uint32      `json:"version"`
	Chain     ChainRef    `json:"chain"`
	Envelope  Envelope    `json:"envelope"`
	Seal      Inclusion   `json:"seal"`
	Finality  Certificate `json:"finality"`
	Handovers []Handover  `json:"handovers"` // of validator sets from an early epoch to the block's, in order
	Outputs   []Archived  `json:"outputs"`   // bytes of outputs, small ones only, sorted by name; may be empty
}

// Certificate is consensus.Finality in canonical bytes.
type Certificate struct {
	Headers [][]byte `json:"headers"` // the block of the event first, then its descendants up to the one certified
	QC      []byte   `json:"certificate"`
}

// Archived is one output inline.
type Archived struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// Encode gives the receipt's text, indented.
func (r *Receipt) Encode() ([]byte, error) { return indent(r) }

// Parse reads a receipt: strictly, with ErrForm for a second spelling of any part, and within its limits. It checks
// form; Verify checks truth.
func Parse(b []byte) (*Receipt, error) {
	var r Receipt
	if err := unmarshal(b, &r, "receipt", MaxReceiptBytes); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return &r, nil
}

// NewReceipt puts a receipt together: a statement with the signatures of the seal's agreeing peers, the events of the
// block that sealed the job in canonical bytes, the seal's place among them, the proof that the block is final, and the
// handovers that lead to the block's epoch, in order. Archived outputs are sorted by name; more than MaxArchivedBytes are left out.
func NewReceipt(chain ChainRef, e *Envelope, events [][]byte, i int, f *consensus.Finality, handovers []*consensus.Handover, outputs []Archived) (*Receipt, error) {
	return Assemble(chain, e, NewInclusion(events, i), f, handovers, outputs)
}

// Assemble is NewReceipt for one who has kept the seal's proof in place of the block's events.
func Assemble(chain ChainRef, e *Envelope, seal Inclusion, f *consensus.Finality, handovers []*consensus.Handover, outputs []Archived) (*Receipt, error) {
	r := &Receipt{
		Version: Version, Chain: chain, Envelope: *e, Seal: seal, Finality: NewCertificate(f),
		Handovers: []Handover{}, Outputs: []Archived{},
	}
	for _, h := range handovers {
		r.Handovers = append(r.Handovers, NewHandover(h))
	}
	total := 0
	for _, o := range outputs {
		total += len(o.Content)
	}
	if total <= MaxArchivedBytes {
		for _, o := range outputs {
			r.Outputs = append(r.Outputs, Archived{o.Name, append([]byte{}, o.Content...)})
		}
	}
	return r, r.check()
}

func (r *Receipt) check() error {
	if r.Version != Version {
		return fmt.Errorf("receipt of version %d: this program reads version %d", r.Version, Version)
	}
	for _, b := range []struct {
		what     string
		n, limit int
	}{
		{"statement bytes", len(r.Envelope.Payload), MaxStatementBytes},
		{"signatures", len(r.Envelope.Signatures), MaxSignatures},
		{"event bytes", len(r.Seal.Event), MaxEventBytes},
		{"steps of the inclusion proof", len(r.Seal.Path), MaxPathLength},
		{"headers", len(r.Finality.Headers), MaxHeaders},
		{"handovers", len(r.Handovers), MaxHandovers},
		{"outputs", len(r.Outputs), MaxOutputs},
	} {
		if b.n > b.limit {
			return fmt.Errorf("receipt with %d %s: over the limit of %d", b.n, b.what, b.limit)
		}
	}
	for i := range r.Handovers {
		if err := r.Handovers[i].check(); err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
	}
	total := 0
	for i, o := range r.Outputs {
		if i > 0 && r.Outputs[i-1].Name >= o.Name {
			return fmt.Errorf("receipt: output %.80q does not come after %.80q: want names sorted, each once", o.Name, r.Outputs[i-1].Name)
		}
		total += len(o.Content)
	}
	if total > MaxArchivedBytes {
		return fmt.Errorf("receipt with %d bytes of outputs: over the limit of %d", total, MaxArchivedBytes)
	}
	return nil
}

func compareKeys(a, b sign.PublicKey) int { return bytes.Compare(a[:], b[:]) }

func sortByKey[T any](list []T, key func(T) sign.PublicKey) {
	sort.Slice(list, func(i, j int) bool { return compareKeys(key(list[i]), key(list[j])) < 0 })
}
