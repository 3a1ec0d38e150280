package driver

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// heldVote is a vote with the node to blame if its signature turns out false: directly sent votes are checked in one
// batch at the quorum.
type heldVote struct {
	vote consensus.CheckedVote
	from sign.PublicKey
}

// errForeign marks messages of another chain or protocol version.
var errForeign = errors.New("not of this chain")

// Deliver takes one message from the network: decoded, verified and queued for the owner when Deliver returns. It never
// waits for the owner, but for the check of the transactions in a batch, which had better come on a stream of their own. It keeps no reference to msg, and may be called by many goroutines at once. from is the node that
// the message came from, to be blamed for what is wrong with it. Directly received garbage is also reported to
// Config.Penalise; for gossip, the verdict is the report.
func (d *Driver) Deliver(from sign.PublicKey, path Path, kind Kind, msg []byte) Verdict {
	switch {
	case kind == KindTx:
		return d.deliverTx(from, path, msg)
	case kind == KindBatch && len(msg) <= kind.MaxBytes():
		return d.onBatch(from, path, msg)
	}
	if limit := kind.MaxBytes(); inboxLimit[kind] == 0 || len(msg) > limit {
		return d.refused(from, path, kind, fmt.Errorf("%d bytes: at most %d", len(msg), limit))
	}
	id := messageHash(path, kind, msg)
	if v, ok := d.seen.verdict(id); ok {
		d.count.duplicates.Add(1)
		return v
	}
	it, err := d.verify(from, path, kind, msg)
	var other *otherEpoch
	if errors.As(err, &other) {
		return d.elsewhere(other) // not learned: the same bytes may be of use when this node is there
	}
	if err != nil {
		d.seen.learn(id, Reject)
		return d.refused(from, path, kind, err)
	}
	d.seen.learn(id, Accept)
	if o, ok := it.msg.(consensus.VerifiedOutline); ok {
		d.onOutline(o)
	} else {
		d.inbox.put(it)
	}
	return Accept
}

func (d *Driver) deliverTx(from sign.PublicKey, path Path, tx []byte) Verdict {
	_, _, err := d.checks.run([][]byte{tx}, false)
	if err != nil {
		return d.refused(from, path, KindTx, err)
	}
	if err = d.cfg.Mempool.Add(tx); err == nil {
		return Accept
	}
	var bad interface{ Invalid() bool }
	if errors.As(err, &bad) && bad.Invalid() {
		return d.refused(from, path, KindTx, err)
	}
	return Ignore // full, too fast, known, or late: no fault of the sender's
}

func (d *Driver) refused(from sign.PublicKey, path Path, kind Kind, err error) Verdict {
	d.count.refused.Add(1)
	if errors.Is(err, errForeign) {
		d.foreign.warn(d.cfg.Log, from, err)
	}
	if path == Direct {
		d.cfg.Penalise(from, fmt.Sprintf("%s: %v", kind, err))
	}
	return Reject
}

// verify decodes and verifies by the rules that need no block tree.
func (d *Driver) verify(from sign.PublicKey, path Path, kind Kind, msg []byte) (item, error) {
	it := item{kind: kind}
	switch kind {
	case KindProposal:
		p, err := consensus.DecodeProposal(msg)
		if err == nil {
			err = d.ours(p.Block.Header.Version, p.Block.Header.ChainID)
		}
		if err != nil {
			return it, err
		}
		var vp consensus.VerifiedProposal
		if err := d.inEpoch(p.Block.Header.Epoch, func(v *consensus.Verifier) (err error) {
			vp, err = v.Proposal(p)
			return err
		}); err != nil {
			return it, err
		}
		ids, at, err := d.checks.run(p.Block.Txs, true)
		if err != nil {
			err = fmt.Errorf("proposal of view %d: transaction %d: %w", p.Block.Header.View, at, err)
		}
		it.msg = offer{vp, ids}
		return it, err
	case KindOutline:
		o, err := consensus.DecodeOutline(msg)
		if err == nil {
			err = d.ours(o.Header.Version, o.Header.ChainID)
		}
		if err != nil {
			return it, err
		}
		return it, d.inEpoch(o.Header.Epoch, func(v *consensus.Verifier) error {
			it.msg, err = v.Outline(o)
			return err
		})
	case KindVote:
		v, err := consensus.DecodeVote(msg)
		if err == nil {
			err = d.ours(consensus.ProtocolVersion, v.Data.ChainID)
		}
		if err != nil {
			return it, err
		}
		var checked consensus.CheckedVote
		// The replica checks votes in one batch at the quorum. Only a vote from its voter's own node may wait for that: a
		// stranger's forgery must not take the voter's place, nor be relayed, and nobody may put words in our mouth.
		once := path == Gossiped || d.term.Load().peerOf[v.Voter] != from || v.Voter == d.self
		err = d.inEpoch(v.Data.Epoch, func(in *consensus.Verifier) (err error) {
			if checked, err = in.Vote(v); err == nil && once {
				err = in.Signed(checked)
			}
			return err
		})
		if err == nil {
			d.gather.voted(v.Data.Block, d.term.Load().peerOf[v.Voter])
		}
		it.msg = heldVote{checked, from}
		return it, err
	case KindTimeout:
		t, err := consensus.DecodeTimeout(msg)
		if err == nil {
			err = d.ours(consensus.ProtocolVersion, t.Data.ChainID)
		}
		if err != nil {
			return it, err
		}
		return it, d.inEpoch(t.Data.Epoch, func(v *consensus.Verifier) error {
			it.msg, err = v.Timeout(t)
			return err
		})
	case KindCertificates:
		c, err := consensus.DecodeCertificates(msg)
		if err != nil {
			return it, err
		}
		return it, d.inEpoch(c.QC.Data.Epoch, func(v *consensus.Verifier) error {
			it.msg, err = v.Certificates(c)
			return err
		})
	case KindCommitted:
		var f consensus.Finality
		err := canon.Unmarshal(msg, &f)
		if err == nil && len(f.Headers) != 1 {
			err = fmt.Errorf("announcement with %d headers: want 1", len(f.Headers))
		}
		if err == nil {
			err = d.ours(f.Headers[0].Version, f.Headers[0].ChainID)
		}
		if err != nil {
			return it, err
		}
		return it, d.inEpoch(f.QC.Data.Epoch, func(v *consensus.Verifier) error {
			if err := v.Finality(&f); err != nil {
				return err
			}
			qc, err := v.QC(&f.QC)
			it.msg = announced{height: f.Headers[0].Height, qc: qc}
			return err
		})
	}
	return it, fmt.Errorf("unknown kind of message %q", kind)
}

// announced is a committed block that somebody told of.
type announced struct {
	height consensus.Height
	qc     consensus.VerifiedQC
}

func (d *Driver) ours(version uint32, chain digest.Digest) error {
	if version != consensus.ProtocolVersion {
		return fmt.Errorf("%w: protocol version %d, this program follows version %d", errForeign, version, consensus.ProtocolVersion)
	}
	if chain != d.chain {
		return fmt.Errorf("%w: chain %s, this node is on %s", errForeign, chain.Short(), d.cfg.Genesis.DisplayName())
	}
	return nil
}
