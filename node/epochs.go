package node

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/receipt"
)

// epochs knows the validators of each epoch from the handovers in the chain store, and bounds by the trust file, if there
// is one, what snapshots may say. It implements statesync.Epochs. Safe for concurrent use.
type epochs struct {
	genesis *consensus.Genesis
	first   *consensus.Block
	chain   *chainstore.Store
	trust   *receipt.TrustFile // nil: genesis alone is trusted

	mu    sync.Mutex // guards what follows
	known consensus.Epoch
	last  *consensus.Verifier // of the epoch that was asked for last; nil: none was
}

// newEpochs reads the trust file at a path; "" is none.
func newEpochs(g *consensus.Genesis, first *consensus.Block, chain *chainstore.Store, trustPath string) (*epochs, error) {
	e := &epochs{genesis: g, first: first, chain: chain}
	if trustPath == "" {
		return e, nil
	}
	raw, err := os.ReadFile(trustPath)
	if err != nil {
		return nil, fmt.Errorf("trust: %w; write one with: bpi chain trust > trust.json", err)
	}
	if e.trust, err = receipt.ParseTrust(raw); err != nil {
		return nil, fmt.Errorf("trust %s: %w", trustPath, err)
	}
	if id := e.trust.Chain.ID; id != g.ChainID() {
		return nil, fmt.Errorf("trust %s is of chain %s, the genesis document of %s; use the matching one", trustPath, e.trust.Chain.DisplayName(), g.DisplayName())
	}
	set, err := consensus.NewValidatorSet(g.Validators)
	if err == nil {
		err = e.trusted(0, set)
	}
	if err != nil {
		return nil, fmt.Errorf("trust %s: %w", trustPath, err)
	}
	return e, nil
}

// trusted checks the validators of an epoch against those of the trust file, if it is of that epoch.
func (e *epochs) trusted(epoch consensus.Epoch, set *consensus.ValidatorSet) error {
	if e.trust == nil || uint64(epoch) != e.trust.Checkpoint.Epoch {
		return nil
	}
	want, err := e.trust.Set()
	if err != nil {
		return err
	}
	if want.Digest() != set.Digest() {
		return fmt.Errorf("%w: the validators of epoch %d are not the trust file's", snapshot.ErrInvalid, epoch)
	}
	return nil
}

// Known implements statesync.Epochs.
func (e *epochs) Known() consensus.Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.knownNow()
}

func (e *epochs) knownNow() consensus.Epoch {
	for {
		if _, err := e.chain.Handover(e.known + 1); err != nil {
			return e.known
		}
		e.known++
	}
}

// Handover implements statesync.Epochs.
func (e *epochs) Handover(epoch consensus.Epoch) (*consensus.Handover, error) {
	return e.chain.Handover(epoch)
}

// verifier is that of an epoch. The caller holds mu, and is the only one to use it meanwhile.
func (e *epochs) verifier(epoch consensus.Epoch) (*consensus.Verifier, error) {
	if e.last != nil && e.last.Epoch() == epoch {
		return e.last, nil
	}
	v, err := consensus.NewVerifier(e.genesis, e.first.ID())
	if err == nil && epoch > 0 {
		h, herr := e.chain.Handover(epoch)
		if errors.Is(herr, driver.ErrNoBlock) {
			return nil, fmt.Errorf("epoch %d: %w", epoch, statesync.ErrEpoch)
		}
		if err = herr; err == nil {
			v, err = v.After(h)
		}
	}
	if err == nil {
		e.last = v
	}
	return v, err
}

// window is how far back the leader rule looks in an epoch.
func (e *epochs) window(epoch consensus.Epoch) (consensus.View, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v, err := e.verifier(epoch)
	if err != nil {
		return 0, err
	}
	return consensus.LeaderWindow(v.Set().Len()), nil
}

// Adopt implements statesync.Epochs.
func (e *epochs) Adopt(h *consensus.Handover) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.knownNow()
	v, err := e.verifier(known)
	if err != nil {
		return err
	}
	if h.Header().Epoch < known {
		return nil // learnt meanwhile by executing blocks
	}
	next, err := h.Verify(e.genesis.ChainID(), known, v.Set())
	if err != nil {
		return fmt.Errorf("%w: %w", snapshot.ErrInvalid, err)
	}
	if err := e.trusted(known+1, next); err != nil {
		return err
	}
	return e.chain.PutHandover(h)
}

// check is the statesync.CheckFunc.
func (e *epochs) check(h *snapshot.Head) (*snapshot.Snapshot, error) {
	epoch, err := h.Epoch()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	v, err := e.verifier(epoch)
	if err != nil {
		return nil, err
	}
	s, err := h.Check(v)
	if err != nil || e.trust == nil {
		return s, err
	}
	switch at, c := uint64(s.Height()), e.trust.Checkpoint; {
	case at < c.Height:
		return nil, fmt.Errorf("%w: of block %d, before the trust file's checkpoint at %d", snapshot.ErrInvalid, at, c.Height)
	case at == c.Height && s.Block.ID() != c.Block:
		return nil, fmt.Errorf("%w: block %d is not the trust file's checkpoint", snapshot.ErrInvalid, at)
	}
	return s, nil
}
