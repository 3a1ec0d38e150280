package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/invite"
)

// Members of a private network tell each other who was invited and what was revoked: what is new by gossip, and all of it
// whenever two of them connect, so that one that was away catches up.

// errOutsider means that this peer knows another as no member, and so does not dial it.
var errOutsider = errors.New("is no member of this private network, as far as this peer knows")

const (
	membersTopic = "members/1"
	membersProto = "members/1"
	// maxNotice bounds one gossiped notice, which holds one paper.
	maxNotice  = maxKnock
	sweepEvery = time.Second // how late an expired membership may end
)

// startMembers serves and follows the members' papers.
func (p *Host) startMembers() error {
	t, err := p.Join(membersTopic, p.noticed, MaxBytes(maxNotice))
	if err != nil {
		return err
	}
	if err := t.Subscribe(func(sign.PublicKey, []byte) {}); err != nil { // noticed has taken it in already
		return err
	}
	p.notices = t
	// The question holds the digest of what the asker knows: equal papers need not travel.
	p.Handle(membersProto, Limits{RequestBytes: 64, PerPeer: 2, PerSecond: 1, Timeout: 20 * time.Second},
		func(_ context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
			mine := canon.Must(p.roll.papers())
			if d := digest.Of(mine); string(req) == string(d[:]) {
				return nil, nil
			}
			return mine, nil
		})
	if !p.group.spawn(p.sweepLoop) {
		return errors.New("p2p: the host is closed")
	}
	return nil
}

// noticed is the topic's validator.
func (p *Host) noticed(_ sign.PublicKey, data []byte) Verdict {
	list, err := decodePapers(data)
	if err != nil || len(list.Admissions)+len(list.Revocations) != 1 {
		return Reject
	}
	news, err := p.takeIn(list)
	switch {
	case errors.Is(err, invite.ErrForged), errors.Is(err, invite.ErrOtherPeer):
		return Reject
	case err != nil || !news: // clocks and lists of inviters may differ between honest members
		return Ignore
	}
	return Accept
}

// takeIn takes papers of other members in, and reports whether there was news. Its error is the last paper's that was
// not taken.
func (p *Host) takeIn(list *papers) (news bool, err error) {
	now := time.Now()
	for i := range list.Revocations {
		fresh, e := p.roll.revoke(&list.Revocations[i], now)
		if fresh {
			p.log.Info("an invitation was revoked", "invitation", list.Revocations[i].ID.String())
		}
		news = news || fresh
		if e != nil {
			err = e
		}
	}
	if news { // who was put out must not be let in again after a crash
		p.saveRoll()
		p.sweep()
	}
	for i := range list.Admissions {
		fresh, e := p.roll.admit(&list.Admissions[i], false, now)
		news = news || fresh
		if e != nil {
			err = e
		}
	}
	return news, err
}

// passOn tells the other members; without any, those that connect later ask.
func (p *Host) passOn(list papers) {
	if p.notices == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.life, time.Second)
	defer cancel()
	if err := p.notices.Publish(ctx, canon.Must(&list)); err != nil && p.life.Err() == nil {
		p.log.Warn("members are not told of a change now; they ask when they connect", "error", err)
	}
}

// compare asks a member that has just connected for what this peer does not know.
func (p *Host) compare(with peer.ID) {
	key, ok := PublicKey(with)
	if !ok {
		return
	}
	p.group.spawn(func() {
		ctx, cancel := context.WithTimeout(p.life, 20*time.Second)
		defer cancel()
		mine := digest.Of(canon.Must(p.roll.papers()))
		raw, err := p.Call(ctx, key, membersProto, mine[:])
		if err != nil || len(raw) == 0 {
			return // a client, or one that knows the same
		}
		list, err := decodePapers(raw)
		if err != nil {
			p.penalise(with, PenaltyMajor, "malformed list of members")
			return
		}
		if _, err := p.takeIn(list); errors.Is(err, invite.ErrForged) {
			p.penalise(with, PenaltyMajor, "forged list of members")
		}
	})
}

// Revoke takes a revocation in, makes it durable, puts out who came by the invitation, and tells the other members.
func (p *Host) Revoke(x *invite.Revocation) error {
	if p.roll == nil {
		return errors.New("this network is open: there is no invitation to revoke")
	}
	if _, err := p.roll.revoke(x, time.Now()); err != nil {
		return err
	}
	if err := p.roll.save(p.cfg.DataDir); err != nil {
		return err
	}
	p.sweep()
	p.passOn(papers{Admissions: []invite.Admission{}, Revocations: []invite.Revocation{*x}})
	return nil
}

// SetChainMembers says whom the chain names as members of a private network, in place of those of an earlier call. On an
// open network it does nothing.
func (p *Host) SetChainMembers(list []sign.PublicKey) {
	if p.roll != nil && p.roll.setChain(list) {
		p.sweep()
		p.poke()
	}
}

// sweepLoop ends memberships when their invitations do.
func (p *Host) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-tick.C:
			p.sweep()
		}
	}
}

// sweep disconnects who is no member any more.
func (p *Host) sweep() {
	now := time.Now()
	p.roll.forget(now, func(k sign.PublicKey) bool { return p.h.Network().Connectedness(PeerID(k)) == network.Connected })
	for _, id := range p.h.Network().Peers() {
		if p.gate.member(id) || p.gate.listed(id) && !p.isMember(id) {
			continue // one that is listed as foreign goes as a member, and may come back as what it is
		}
		p.stats.putOut.add(1)
		p.log.Info("disconnecting a peer that is no member any more", "peer", id)
		_ = p.h.Network().ClosePeer(id)
	}
}

// Membership is one member of a private network, as this peer knows it.
type Membership struct {
	Key        sign.PublicKey `json:"key"`
	ID         string         `json:"id"`  // peer id
	How        string         `json:"how"` // "configuration", "chain", "invitation", "visitor"
	Invitation string         `json:"invitation,omitempty"`
	ExpiresMs  uint64         `json:"expires_ms,omitempty"`
	Connected  bool           `json:"connected"`
}

// Members is whom this peer would let in, in order of their keys; nil on an open network.
func (p *Host) Members() []Membership {
	if p.roll == nil {
		return nil
	}
	out := p.roll.list(time.Now())
	for i := range out {
		out[i].ID = PeerID(out[i].Key).String()
		out[i].Connected = p.isMember(PeerID(out[i].Key))
	}
	return out
}

// admissionEnds is when this peer's own invitation ends; false if it has none.
func (p *Host) admissionEnds() (time.Time, bool) {
	if p.roll == nil || p.cfg.Private.Admission == nil {
		return time.Time{}, false
	}
	return p.cfg.Private.Admission.Invitation.Expires(), true
}

// letIn makes sure that a member which this peer dials will let it in. It needs an answer only once for each connection.
func (p *Host) letIn(ctx context.Context, info peer.AddrInfo) error {
	if p.roll == nil || p.cfg.Private.Admission == nil || p.h.Network().Connectedness(info.ID) == network.Connected {
		return nil
	}
	if p.roll.how(p.self, time.Now()) == MemberByChain { // everybody knows
		return nil
	}
	p.mu.Lock()
	known := p.openDoors[info.ID]
	p.mu.Unlock()
	if known {
		return nil
	}
	trouble := errNoDoor
	addrs := info.Addrs
	if len(addrs) == 0 {
		addrs = p.h.Peerstore().Addrs(info.ID)
	}
	for _, a := range addrs {
		if !hasDoor(a) {
			continue
		}
		_, err := Knock(ctx, p.cfg.Key, a.String()+"/p2p/"+info.ID.String(), p.cfg.Private.Admission, p.cfg.Private.Visitor, p.cfg.SwarmKey)
		if err == nil {
			p.mu.Lock()
			p.openDoors[info.ID] = true
			p.mu.Unlock()
			return nil
		}
		if errors.Is(err, ErrNotAdmitted) {
			return fmt.Errorf("peer %s: %w", info.ID, err)
		}
		trouble = err
	}
	return trouble
}

// errNoDoor means that a visitor cannot show its admission.
var errNoDoor = errors.New("there is no TCP or WebSocket address of it to show an invitation at; name one")

// meet dials a peer, and shows this peer's admission first where that is needed.
func (p *Host) meet(ctx context.Context, info peer.AddrInfo) error {
	if p.gate.onlyForeign(info.ID) { // it has no door
		return p.h.Connect(ctx, info)
	}
	if !p.gate.member(info.ID) {
		return fmt.Errorf("peer %s %w", info.ID, errOutsider)
	}
	if err := p.letIn(ctx, info); errors.Is(err, ErrNotAdmitted) {
		p.refusedBy(info.ID, err)
		return err
	} else if errors.Is(err, errNoDoor) && p.cfg.Private.Visitor { // others it may have heard of
		return fmt.Errorf("peer %s: %w", info.ID, err)
	}
	// Trouble at the door is the dial's as well, and the dial says it better.
	err := p.h.Connect(ctx, info)
	if err != nil {
		p.shut(info.ID)
	}
	return err
}

// shut forgets that a peer let this one in.
func (p *Host) shut(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.openDoors, id)
}

// refusedBy tells the person once for each reason: the bootstrap loop goes on asking.
func (p *Host) refusedBy(id peer.ID, err error) {
	p.mu.Lock()
	again := p.lastRefusal == err.Error()
	p.lastRefusal = err.Error()
	p.mu.Unlock()
	if !again {
		p.log.Warn("the private network does not let this peer in", "member", id, "why", err, "next", "ask for a new invitation, and give it to this peer with: bpi network join")
	}
}
