package receipt

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/light"
	"github.com/metanode/metanode/internal/canon"
)

// Handover is an epoch-closing block and its certificate: the old set's word for the next one. It is
// consensus.Handover in public form.
type Handover struct {
	Headers    [][]byte         `json:"headers"`
	QC         []byte           `json:"certificate"`
	Validators []TrustValidator `json:"validators"`
}

// NewHandover is the public form of a handover.
func NewHandover(h *consensus.Handover) Handover {
	c := NewCertificate(&h.Finality)
	return Handover{Headers: c.Headers, QC: c.QC, Validators: trustValidators(h.Next)}
}

func trustValidators(list []consensus.Validator) []TrustValidator {
	out := []TrustValidator{}
	for _, v := range list {
		out = append(out, TrustValidator{Key: v.Key, Weight: v.Weight, Peer: v.Peer, Name: v.Name, BLS: v.BLS})
	}
	return out
}

func validatorsOf(list []TrustValidator) []consensus.Validator {
	out := make([]consensus.Validator, 0, len(list))
	for _, v := range list {
		out = append(out, consensus.Validator{Key: v.Key, Weight: v.Weight, Peer: v.Peer, Name: v.Name, BLS: v.BLS})
	}
	return out
}

func (h *Handover) check() error {
	if len(h.Headers) > MaxHeaders || len(h.Validators) > consensus.MaxValidators {
		return fmt.Errorf("handover with %d headers and %d validators: over the limits of %d and %d", len(h.Headers), len(h.Validators), MaxHeaders, consensus.MaxValidators)
	}
	return nil
}

func (h *Handover) decode() (*consensus.Handover, error) {
	c := Certificate{Headers: h.Headers, QC: h.QC}
	f, err := c.decode()
	if err != nil {
		return nil, err
	}
	return &consensus.Handover{Finality: *f, Next: validatorsOf(h.Validators)}, nil
}

// epochOf is the epoch that a handover closes, as its first header says.
func (h *Handover) epochOf() (consensus.Epoch, error) {
	if len(h.Headers) == 0 {
		return 0, fmt.Errorf("handover without a header")
	}
	var first consensus.Header
	if err := canon.Unmarshal(h.Headers[0], &first); err != nil {
		return 0, fmt.Errorf("read a handover's header: %w", err)
	}
	return first.Epoch, nil
}

// client is the light client that believes in the trust file.
func (t *TrustFile) client() (*light.Client, error) {
	set, err := t.Set()
	if err != nil {
		return nil, err
	}
	return light.New(t.Chain.ID, consensus.Epoch(t.Checkpoint.Epoch), set), nil
}

// atCheckpoint refuses a header at the checkpoint's height that is not the checkpoint.
func (t *TrustFile) atCheckpoint(h *consensus.Header) error {
	if uint64(h.Height) == t.Checkpoint.Height && h.ID() != t.Checkpoint.Block {
		return fmt.Errorf("block %d is not the trust file's checkpoint", h.Height)
	}
	return nil
}

// follow takes c over one handover. Those from before the trust file's epoch are passed over: its validators are
// believed, however they came to be.
func (t *TrustFile) follow(c *light.Client, h *Handover) (passed bool, err error) {
	epoch, err := h.epochOf()
	if err != nil {
		return false, err
	}
	if uint64(epoch) < t.Checkpoint.Epoch && uint64(c.Epoch()) == t.Checkpoint.Epoch {
		return true, nil
	}
	o, err := h.decode()
	if err != nil {
		return false, err
	}
	if err := t.atCheckpoint(o.Header()); err != nil {
		return false, err
	}
	return false, c.Follow(o)
}

// Advance gives the trust file of the epoch that the handovers lead to. They are verified; those from before t's epoch
// are passed over.
func (t *TrustFile) Advance(handovers []Handover) (*TrustFile, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	c, err := t.client()
	if err != nil {
		return nil, err
	}
	next := *t
	for i := range handovers {
		h := &handovers[i]
		passed, err := t.follow(c, h)
		if err != nil {
			return nil, fmt.Errorf("handover %d: %w", i+1, err)
		}
		if passed {
			continue
		}
		o, err := h.decode()
		if err != nil {
			return nil, fmt.Errorf("handover %d: %w", i+1, err)
		}
		next.Checkpoint = Checkpoint{Height: uint64(o.Header().Height), Block: o.Header().ID(), Epoch: uint64(c.Epoch())}
		next.Validators = trustValidators(c.Set().All())
	}
	return &next, nil
}
