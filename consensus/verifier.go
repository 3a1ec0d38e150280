package consensus

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// ErrRefused is wrapped by every verdict that an input is not acceptable: expected with strangers about; drop it and
// hold it against the sender. Other errors of this package are trouble of this node.
var ErrRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// Verifier turns messages into the verified types that Replica.Step accepts. Each method checks all that can be known
// without the block tree: chain, epoch, membership, quorum weight, signatures (of Ed25519 by ZIP-215), canonical bitmaps, and the
// rules that bind the parts of one message together. It remembers valid signatures (bounded), so that a certificate
// made of known votes costs hashing only. Safe for concurrent use; a replica shares its Verifier with whoever verifies the
// messages for it, so that neither checks what the other has.
type Verifier struct {
	chain    digest.Digest
	root     BlockID // the block that the epoch begins after, and its view
	rootView View
	epoch    Epoch
	set      *ValidatorSet
	maxTxs   int
	known    *signatures
}

// NewVerifier makes the verifier of g's first epoch. genesis is the id of g.Block for the application's genesis state.
func NewVerifier(g *Genesis, genesis BlockID) (*Verifier, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	set, err := NewValidatorSet(g.Validators)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		chain: g.ChainID(), root: genesis, set: set,
		maxTxs: int(g.MaxTxsPerBlock), known: newSignatures(),
	}, nil
}

// ChainID is the chain that v verifies for.
func (v *Verifier) ChainID() digest.Digest { return v.chain }

// Set is the validator set.
func (v *Verifier) Set() *ValidatorSet { return v.set }

// Epoch is the epoch of the set.
func (v *Verifier) Epoch() Epoch { return v.epoch }

// VerifiedProposal is a leader's proposal that is well formed and signed by a validator. Whether that validator leads
// the view and the block follows its parent is checked by Replica.Check, which knows the tree.
type VerifiedProposal struct {
	p  *Proposal
	id BlockID
}

// VerifiedBlock is a block fetched by its id, with a valid certificate for its parent.
type VerifiedBlock struct {
	b  *Block
	id BlockID
}

// CheckedVote is a vote of a member of the set. Its signature is checked by the replica, in one batch with the others
// when they reach a quorum.
type CheckedVote struct {
	v     *Vote
	index int
}

// VerifiedTimeout is a validator's timeout with valid certificates.
type VerifiedTimeout struct {
	t     *Timeout
	index int
}

// VerifiedQC is a valid quorum certificate.
type VerifiedQC struct{ qc *QC }

// VerifiedTC is a valid timeout certificate.
type VerifiedTC struct{ tc *TC }

// VerifiedChain is a run of blocks, each the parent of the next, whose last one is proved final.
type VerifiedChain struct {
	blocks []*Block
	proof  *Finality
}

// Proposal is the message; not to be changed.
func (p VerifiedProposal) Proposal() *Proposal { return p.p }

// Block is the proposed block; not to be changed.
func (p VerifiedProposal) Block() *Block { return &p.p.Block }

// ID is the block's id.
func (p VerifiedProposal) ID() BlockID { return p.id }

// Certificates are the proposal's own certificates as inputs: for Step when the block cannot enter yet because its
// parent is not at hand.
func (p VerifiedProposal) Certificates() []Input {
	in := []Input{VerifiedQC{&p.p.Block.Justify}}
	if len(p.p.LastTC) == 1 {
		in = append(in, VerifiedTC{&p.p.LastTC[0]})
	}
	return in
}

// Block is the block; not to be changed.
func (b VerifiedBlock) Block() *Block { return b.b }

// ID is the block's id.
func (b VerifiedBlock) ID() BlockID { return b.id }

// Vote is the message; not to be changed.
func (v CheckedVote) Vote() *Vote { return v.v }

// QC is the certificate; not to be changed.
func (q VerifiedQC) QC() *QC { return q.qc }

// TC is the certificate; not to be changed.
func (t VerifiedTC) TC() *TC { return t.tc }

// Timeout is the message; not to be changed.
func (t VerifiedTimeout) Timeout() *Timeout { return t.t }

// Blocks are the blocks in height order; not to be changed.
func (c VerifiedChain) Blocks() []*Block { return c.blocks }

// Finality is the proof for the last block; not to be changed.
func (c VerifiedChain) Finality() *Finality { return c.proof }

// QC verifies a quorum certificate.
func (v *Verifier) QC(qc *QC) (VerifiedQC, error) {
	if err := v.checkQC(qc); err != nil {
		return VerifiedQC{}, err
	}
	return VerifiedQC{qc}, nil
}

func (v *Verifier) checkQC(qc *QC) error {
	if v.isRootQC(qc) {
		return nil
	}
	if err := checkQC(qc, v.chain, v.epoch, v.set, v.known); err != nil {
		return refuse("%w", err)
	}
	return nil
}

func (v *Verifier) isRootQC(qc *QC) bool {
	return qc.Data == VoteData{ChainID: v.chain, Epoch: v.epoch, View: v.rootView, Block: v.root} && len(qc.Signers) == 0 && len(qc.Sigs) == 0
}

// TC verifies a timeout certificate and the quorum certificate in it.
func (v *Verifier) TC(tc *TC) (VerifiedTC, error) {
	claims, err := tcClaims(tc, v.chain, v.epoch, v.set)
	if err != nil {
		return VerifiedTC{}, refuse("%w", err)
	}
	if err := v.checkQC(&tc.HighQC); err != nil {
		return VerifiedTC{}, err
	}
	if !v.known.check(claims...) {
		return VerifiedTC{}, refuse("timeout certificate of view %d: a signature is not valid", tc.View)
	}
	return VerifiedTC{tc}, nil
}

// Vote checks all of a vote but its signature.
func (v *Verifier) Vote(vote *Vote) (CheckedVote, error) {
	d := &vote.Data
	i, ok := v.set.Index(vote.Voter)
	switch {
	case !ok:
		return CheckedVote{}, refuse("vote by %s, who is no validator", vote.Voter.Short())
	case d.ChainID != v.chain:
		return CheckedVote{}, refuse("vote of chain %s, not %s", d.ChainID.Short(), v.chain.Short())
	case d.Epoch != v.epoch:
		return CheckedVote{}, refuse("vote of epoch %d, not %d", d.Epoch, v.epoch)
	case d.View == 0 || d.Block.IsZero():
		return CheckedVote{}, refuse("vote for no block")
	case len(vote.Sig) != v.set.scheme.rules().size():
		return CheckedVote{}, refuse("vote with a signature of %d bytes: %s has %d", len(vote.Sig), v.set.scheme, v.set.scheme.rules().size())
	}
	return CheckedVote{vote, i}, nil
}

// Signed checks a vote's signature, for a shell that does not want to leave it to the replica.
func (v *Verifier) Signed(vote CheckedVote) error {
	if !v.known.check(v.set.claim(vote.index, vote.v.Data.SigningBytes(), vote.v.Sig)) {
		return refuse("vote of view %d: the signature is not %s's", vote.v.Data.View, vote.v.Voter.Short())
	}
	return nil
}

// Timeout verifies a timeout with its certificates: the carried QC is the one that the signed view names and older than
// the timed-out view, and where it is not of the view before, the TC of the view before comes with it.
func (v *Verifier) Timeout(t *Timeout) (VerifiedTimeout, error) {
	d := &t.Data
	i, ok := v.set.Index(t.Voter)
	switch {
	case !ok:
		return VerifiedTimeout{}, refuse("timeout by %s, who is no validator", t.Voter.Short())
	case d.ChainID != v.chain:
		return VerifiedTimeout{}, refuse("timeout of chain %s, not %s", d.ChainID.Short(), v.chain.Short())
	case d.Epoch != v.epoch:
		return VerifiedTimeout{}, refuse("timeout of epoch %d, not %d", d.Epoch, v.epoch)
	case d.View == 0 || d.HighQC >= d.View || d.LastVoted > d.View:
		return VerifiedTimeout{}, refuse("timeout of view %d with a certificate of view %d and a vote in view %d", d.View, d.HighQC, d.LastVoted)
	case d.HighQC != t.HighQC.Data.View:
		return VerifiedTimeout{}, refuse("timeout of view %d names the certificate of view %d and carries that of view %d", d.View, d.HighQC, t.HighQC.Data.View)
	}
	if err := v.skip("timeout", d.View, &t.HighQC, t.LastTC, false); err != nil {
		return VerifiedTimeout{}, err
	}
	if !v.known.check(v.set.claim(i, d.SigningBytes(), t.Sig)) {
		return VerifiedTimeout{}, refuse("timeout of view %d by %s: the signature is not valid", d.View, t.Voter.Short())
	}
	return VerifiedTimeout{t, i}, nil
}

// skip checks that view follows qc directly, or follows a TC of the view before. In a proposal, the QC must then be at
// least as high as any that the TC names (Jolteon, section 3, the second case of the voting rule).
func (v *Verifier) skip(what string, view View, qc *QC, last []TC, proposal bool) error {
	if qc.Data.View+1 == view {
		if len(last) != 0 {
			return refuse("%s of view %d: a timeout certificate beside the certificate of the view before", what, view)
		}
		return v.checkQC(qc)
	}
	if len(last) != 1 || last[0].View+1 != view {
		return refuse("%s of view %d on the certificate of view %d without the timeout certificate of view %d", what, view, qc.Data.View, view-1)
	}
	if proposal && last[0].HighQC.Data.View > qc.Data.View {
		return refuse("%s of view %d on the certificate of view %d: the timeouts before it know of view %d", what, view, qc.Data.View, last[0].HighQC.Data.View)
	}
	if err := v.checkQC(qc); err != nil {
		return err
	}
	_, err := v.TC(&last[0])
	return err
}

// Proposal verifies a proposal. Its body was checked when it was decoded; a block that this program built is checked
// again all the same.
func (v *Verifier) Proposal(p *Proposal) (VerifiedProposal, error) {
	h := &p.Block.Header
	if err := v.header(&p.Block); err != nil {
		return VerifiedProposal{}, err
	}
	id := h.ID()
	if err := v.led(h, id, &p.Block.Justify, p.LastTC, p.Sig); err != nil {
		return VerifiedProposal{}, err
	}
	return VerifiedProposal{p, id}, nil
}

// led checks that a validator proposed the block of this header, and might in its view.
func (v *Verifier) led(h *Header, id BlockID, justify *QC, last []TC, sig sign.Signature) error {
	if !v.known.check(proposalClaim(h.Proposer, id, sig)) {
		return refuse("proposal of view %d: the signature is not %s's", h.View, h.Proposer.Short())
	}
	return v.skip("proposal", h.View, justify, last, true)
}

// Block verifies a block that was asked for by its id.
func (v *Verifier) Block(b *Block, id BlockID) (VerifiedBlock, error) {
	if b.ID() != id {
		return VerifiedBlock{}, refuse("block %s in answer to a request for %s", b.ID().Short(), id.Short())
	}
	if err := v.header(b); err != nil {
		return VerifiedBlock{}, err
	}
	if err := v.checkQC(&b.Justify); err != nil {
		return VerifiedBlock{}, err
	}
	return VerifiedBlock{b, id}, nil
}

// header checks a block against chain, epoch, set, limits and its own certificate's data.
func (v *Verifier) header(b *Block) error {
	if err := v.headline(&b.Header, &b.Justify); err != nil {
		return err
	}
	if len(b.Txs) > v.maxTxs {
		return refuse("block of view %d: %d transactions, the chain's limit is %d", b.Header.View, len(b.Txs), v.maxTxs)
	}
	if err := b.checkBody(); err != nil {
		return refuse("%w", err)
	}
	return nil
}

// headline checks all of a block but its body.
func (v *Verifier) headline(h *Header, justify *QC) error {
	switch {
	case h.Version != ProtocolVersion:
		return refuse("block of protocol version %d: this program follows version %d", h.Version, ProtocolVersion)
	case h.ChainID != v.chain:
		return refuse("block of chain %s, not %s", h.ChainID.Short(), v.chain.Short())
	case h.Epoch != v.epoch:
		return refuse("block of epoch %d, not %d", h.Epoch, v.epoch)
	case h.Validators != v.set.Digest():
		return refuse("block of view %d: names another validator set than epoch %d's", h.View, v.epoch)
	case h.Height == 0 || h.HistoryCount != uint64(h.Height):
		return refuse("block of height %d with a history of %d blocks", h.Height, h.HistoryCount)
	case h.Parent != justify.Data.Block:
		return refuse("block of view %d: its certificate is not its parent's", h.View)
	case h.View <= justify.Data.View:
		return refuse("block of view %d on a certificate of view %d", h.View, justify.Data.View)
	}
	if _, ok := v.set.Index(h.Proposer); !ok {
		return refuse("block of view %d: proposed by %s, who is no validator", h.View, h.Proposer.Short())
	}
	return nil
}

// MaxChainBlocks bounds one run of blocks of catch-up.
const MaxChainBlocks = 1024

// Chain verifies a run of blocks for catch-up: blocks are in height order, each the parent of the next, and proof shows
// the last one final. Every certificate between them is checked too, because the receiver will serve these blocks.
func (v *Verifier) Chain(blocks []*Block, proof *Finality) (VerifiedChain, error) {
	if len(blocks) == 0 || len(blocks) > MaxChainBlocks {
		return VerifiedChain{}, refuse("chain of %d blocks: want 1 to %d", len(blocks), MaxChainBlocks)
	}
	last := blocks[len(blocks)-1]
	if len(proof.Headers) == 0 || proof.Headers[0].ID() != last.ID() {
		return VerifiedChain{}, refuse("the finality proof is not block %d's", last.Header.Height)
	}
	if err := v.Finality(proof); err != nil {
		return VerifiedChain{}, err
	}
	var claims []claim
	for i, b := range blocks {
		if err := v.header(b); err != nil {
			return VerifiedChain{}, err
		}
		if i > 0 {
			p := &blocks[i-1].Header
			if b.Header.Parent != p.ID() || b.Header.Height != p.Height+1 {
				return VerifiedChain{}, refuse("block %d does not follow block %d", b.Header.Height, p.Height)
			}
			if p.NextVals != p.Validators {
				return VerifiedChain{}, refuse("block %d comes after the block that closes epoch %d", b.Header.Height, v.epoch)
			}
		}
		if v.isRootQC(&b.Justify) {
			continue
		}
		c, err := qcClaims(&b.Justify, v.chain, v.epoch, v.set)
		if err != nil {
			return VerifiedChain{}, refuse("block %d: %w", b.Header.Height, err)
		}
		claims = append(claims, c...)
	}
	if !v.known.check(claims...) {
		return VerifiedChain{}, refuse("blocks %d to %d: a certificate's signature is not valid", blocks[0].Header.Height, last.Header.Height)
	}
	return VerifiedChain{blocks, proof}, nil
}

// Finality is Finality.Verify for this chain and set, with v's memory of signatures.
func (v *Verifier) Finality(f *Finality) error {
	if err := f.verify(v.chain, v.set, v.known); err != nil {
		return refuse("%w", err)
	}
	return nil
}

// Certificates verifies an answer to a validator that is behind, as inputs for Step.
func (v *Verifier) Certificates(c *Certificates) ([]Input, error) {
	qc, err := v.QC(&c.QC)
	if err != nil {
		return nil, err
	}
	in := []Input{qc}
	for i := range c.TC {
		tc, err := v.TC(&c.TC[i])
		if err != nil {
			return nil, err
		}
		in = append(in, tc)
	}
	return in, nil
}

// Certificates are the block's own certificate as an input: for Step when the block cannot enter yet.
func (b VerifiedBlock) Certificates() []Input { return []Input{VerifiedQC{&b.b.Justify}} }
