package sim

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// ErrViolation is wrapped when something happened that must never happen.
var ErrViolation = errors.New("safety violated")

// ErrStuck is wrapped when the chain did not go on although nothing hindered it.
var ErrStuck = errors.New("chain did not go on")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrViolation, fmt.Errorf(format, args...))
}

// referee sees all that the nodes of a run sign, certify and commit, and objects at once to what must never be:
//   - two blocks committed at one height, by whomever;
//   - certificates of one view for two blocks, or of one block with two commit references;
//   - two votes, two timeouts or two proposals of one view signed with a key that is no twin's;
//   - a timeout of such a key that names a certificate older than one under a block that it voted for;
//   - evidence against such a key.
type referee struct {
	cast      *cast
	twins     int // keys 0 to twins-1 have two nodes
	chain     map[consensus.Height]consensus.BlockID
	signed    map[promise]digest.Digest
	certified map[place]consensus.VoteData
	justify   map[consensus.BlockID]consensus.View // of the certificate in each proposed block
	locked    map[member]consensus.View            // highest certificate under a block that the key voted for
}

// place is a view of an epoch: views go on from one epoch to the next, but the trailing ones of the first occur again.
type place struct {
	epoch consensus.Epoch
	view  consensus.View
}

// member is a key in an epoch. What it promises in one binds it in no other.
type member struct {
	key   sign.PublicKey
	epoch consensus.Epoch
}

// promise is what a key that is no twin's signs at most once.
type promise struct {
	key  sign.PublicKey
	kind consensus.MessageKind
	at   place
}

func newReferee(c *cast, twins int) *referee {
	return &referee{
		cast: c, twins: twins,
		chain:     make(map[consensus.Height]consensus.BlockID),
		signed:    make(map[promise]digest.Digest),
		certified: make(map[place]consensus.VoteData),
		justify:   make(map[consensus.BlockID]consensus.View),
		locked:    make(map[member]consensus.View),
	}
}

// sent looks at a message before anyone hears it. content is its digest.
func (r *referee) sent(key sign.PublicKey, m consensus.Message, content digest.Digest) error {
	epoch := epochOf(m)
	i, _ := r.cast.at(0).Set().Index(key) // twins are among the first, and where there are some nobody follows
	single := i >= r.twins
	who := member{key, epoch}
	var qc *consensus.QC
	var view consensus.View
	switch m := m.(type) {
	case *consensus.Vote:
		view = m.Data.View
		r.locked[who] = max(r.locked[who], r.justify[m.Data.Block])
	case *consensus.Timeout:
		view, qc = m.Data.View, &m.HighQC
		if single && m.Data.HighQC < r.locked[who] {
			return violation("validator %s times out in view %d with the certificate of view %d, and has voted on that of view %d", key.Short(), view, m.Data.HighQC, r.locked[who])
		}
	case *consensus.Proposal:
		view, content, qc = m.Block.Header.View, m.Block.ID(), &m.Block.Justify
		r.justify[content] = qc.Data.View
	case *consensus.Certificates:
		qc = &m.QC
	}
	if qc != nil {
		if err := r.certificate(qc); err != nil {
			return err
		}
	}
	if view == 0 || !single {
		return nil
	}
	p := promise{key, consensus.KindOf(m), place{epoch, view}}
	if had, ok := r.signed[p]; ok && had != content {
		return violation("validator %s signed two messages of kind %d in view %d", key.Short(), p.kind, view)
	}
	r.signed[p] = content
	return nil
}

// certificate looks at a certificate that a node holds.
func (r *referee) certificate(qc *consensus.QC) error {
	d := qc.Data
	at := place{d.Epoch, d.View}
	had, ok := r.certified[at]
	switch {
	case ok && had == d:
		return nil
	case ok && had.Block != d.Block:
		return violation("view %d certified blocks %s and %s", d.View, had.Block.Short(), d.Block.Short())
	case ok:
		return violation("view %d certified block %s with the commits %s and %s", d.View, d.Block.Short(), had.CommitRef.Short(), d.CommitRef.Short())
	}
	verifier := r.cast.at(d.Epoch)
	if verifier == nil {
		return violation("a node holds a certificate of epoch %d, which has not begun", d.Epoch)
	}
	if _, err := verifier.QC(qc); err != nil {
		return violation("a node holds a certificate that is none: %w", err)
	}
	r.certified[at] = d
	return nil
}

// committed looks at a block that a node calls final.
func (r *referee) committed(h consensus.Height, id consensus.BlockID) error {
	if had, ok := r.chain[h]; ok && had != id {
		return violation("blocks %s and %s are both committed at height %d", had.Short(), id.Short(), h)
	}
	r.chain[h] = id
	return nil
}

// accused looks at the evidence that a node reports.
func (r *referee) accused(e consensus.Evidence) error {
	if i, ok := r.cast.at(0).Set().Index(e.Key); !ok || i >= r.twins {
		return violation("evidence of %s in view %d against validator %d, which is no twin", e.Kind, e.View, i)
	}
	return nil
}
