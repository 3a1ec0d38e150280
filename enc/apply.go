package enc

import (
	"errors"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// refusal is why a command is refused: an event, the same on every node.
type refusal string

func (r refusal) Error() string { return string(r) }

// clientRecord counts what a client key does.
type clientRecord struct {
	_        struct{} `cbor:",toarray"`
	MinuteMs uint64   // when the present minute began
	Commands uint32   // in it
	Open     uint32   // unfinished jobs
}

// ApplyTx is Apply of a transaction's bytes. Bytes that are no command are refused like any other.
func (s *State) ApplyTx(at BlockContext, tx []byte) ([]receipt.Event, error) {
	cmd, err := DecodeCommand(tx)
	if err != nil {
		s.seq++
		s.emit(EventRefused, sign.PublicKey{}, digest.Of(tx), "refused", "malformed: the transaction is not a command", nil)
		return s.finish()
	}
	return s.Apply(at, cmd)
}

// Apply executes one ordered command, after Begin of its block. A refused command is an Event, the same on every node;
// an error means corrupt state, and the node stops. It keeps slices of cmd, which must not change afterwards.
func (s *State) Apply(at BlockContext, cmd *Command) ([]receipt.Event, error) {
	s.seq++
	if cmd == nil {
		s.emit(EventRefused, sign.PublicKey{}, digest.Digest{}, "refused", "malformed: the transaction is not a command", nil)
		return s.finish()
	}
	actor, err := s.apply(at, cmd)
	if err != nil {
		reason := err.Error()
		var form *formError
		if errors.As(err, &form) {
			reason = "malformed: the payload is not a canonical " + string(form.kind)
		}
		s.emit(EventRefused, actor, cmd.ID(), "refused", reason, nil)
	}
	return s.finish()
}

// apply returns the signer if the signature is its own, and why the command is refused.
func (s *State) apply(at BlockContext, cmd *Command) (actor sign.PublicKey, err error) {
	p, err := checkUnsigned(cmd, s.chain, at.TimestampMs)
	if err != nil {
		return actor, err
	}
	if err := cmd.verify(); err != nil {
		return actor, err
	}
	id := cmd.ID()
	seen := key(keyDedupe, be64(cmd.Body.ExpiresMs), id[:])
	if s.has(seen) {
		return cmd.Signer, refusal("replayed: the chain has this command already")
	}
	switch p := p.(type) {
	case *SubmitJob, *CancelJob, *PublishDataset, *PublishImage, *Withdraw:
		return cmd.Signer, s.applyClient(at, cmd.Signer, p, seen)
	case *ProposeValidators:
		return cmd.Signer, s.propose(cmd.Signer, p, seen)
	case *ReportEvidence:
		return cmd.Signer, s.applyEvidence(at, cmd.Signer, p, seen)
	default:
		return cmd.Signer, s.applyNode(at, cmd.Signer, p, seen)
	}
}

func (s *State) applyClient(at BlockContext, who sign.PublicKey, p Payload, seen []byte) error {
	if !s.law.genesis.OpenClients && !s.law.clients[who] {
		return refusal("client key " + who.String() + " is not admitted on this network")
	}
	ck := key(keyClients, who[:])
	var c clientRecord
	if !s.get(ck, &c) {
		c.MinuteMs = at.TimestampMs
		s.sweepAt(at.TimestampMs+minuteMs, sweepClient, who[:])
	}
	if at.TimestampMs-c.MinuteMs >= minuteMs {
		c.MinuteMs, c.Commands = at.TimestampMs, 0
	}
	if c.Commands >= s.law.genesis.Params.ClientPerMinute {
		return refusal("rate: this client key has sent as many commands as a minute allows; send again in a minute")
	}
	c.Commands++
	s.mark(seen)
	var err error
	switch p := p.(type) {
	case *SubmitJob:
		err = s.submit(at, who, &c, p)
	case *CancelJob:
		s.put(ck, &c)
		return s.cancel(at, who, p)
	case *PublishDataset:
		err = s.publish(at, who, datasetNames, publication{name: p.Name, manifest: p.Manifest, blobs: p.Blobs, holders: p.Holders, rows: p.Rows})
	case *PublishImage:
		err = s.publish(at, who, imageNames, publication{
			name: p.Name, manifest: p.Image, blobs: []BlobRef{{Digest: p.Image, Bytes: p.Bytes}}, holders: p.Holders,
		})
	case *Withdraw:
		err = s.withdraw(who, p)
	case *ReportEvidence:
		err = s.convict(at, who, p)
	}
	s.put(ck, &c)
	return err
}

func (s *State) applyNode(at BlockContext, who sign.PublicKey, p Payload, seen []byte) error {
	n, ok := s.Node(who)
	if !ok {
		return refusal("node key " + who.String() + " is not admitted on this network")
	}
	s.mark(seen)
	if n.Suspect || at.TimestampMs-n.SeenMs >= minuteMs {
		s.placeable = s.placeable || n.Suspect
		n.Suspect, n.SeenMs = false, at.TimestampMs
		s.putNode(n)
	}
	switch p := p.(type) {
	case *RegisterNode:
		return s.register(at, n, p)
	case *RenewLeases:
		return s.renew(at, who, p)
	case *Commit:
		return s.commit(at, who, p)
	case *Decline:
		return s.decline(at, who, p)
	case *Reveal:
		return s.reveal(at, who, p)
	case *HoldBlobs:
		return s.hold(at, who, p)
	}
	return refusal("no rule for this command")
}

func (s *State) register(at BlockContext, n *Node, p *RegisterNode) error {
	if p.Operator != n.Operator {
		return refusal("operator key " + p.Operator.String() + " does not vouch for this node; genesis names " + n.Operator.String())
	}
	leaves := p.Draining && !n.Draining
	n.Registered = true
	for _, d := range n.Policies {
		s.del(key(keyOffers, d[:], n.Peer[:]))
	}
	for _, d := range p.Policies {
		s.mark(key(keyOffers, d[:], n.Peer[:]))
	}
	n.Engines, n.Policies, n.CPUClass = p.Engines, p.Policies, p.CPUClass
	n.Slots, n.Memory, n.Labels, n.Draining, n.Reason = p.Slots, p.Memory, p.Labels, p.Draining, p.Reason
	s.putNode(n)
	s.placeable = true
	s.mark(key(keyUnpark))
	if leaves {
		s.m.Set(key(keyLeaving, n.Peer[:]), make([]byte, digest.Size))
	} else if !p.Draining {
		s.del(key(keyLeaving, n.Peer[:]))
	}
	reason := p.Reason
	if p.Draining {
		reason = "draining"
	}
	s.emit(EventNodeRegistered, n.Peer, digest.Digest{}, "accepted", reason, p)
	return nil
}
