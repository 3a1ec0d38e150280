package p2p

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/invite"
)

// Private makes a network private: a connection stays only if both ends are members.
type Private struct {
	// Chain is the digest of the genesis document. Who does not know it cannot even ask to be let in.
	Chain digest.Digest
	// Inviters may sign invitations and revocations.
	Inviters []sign.PublicKey
	// Allowed are members by the configuration's word, as are the peers of Config.Bootstrap. SetChainMembers adds the
	// chain's.
	Allowed []sign.PublicKey
	// Admission is what this peer shows to be let in; nil if others know it as a member anyway. It is bound to Key.
	Admission *invite.Admission
	// Visitor asks to be let in for this connection alone: the admission is neither passed on nor kept.
	Visitor bool
	// NoMDNS keeps the peer from announcing itself on the local network, and from looking for others there.
	NoMDNS bool
}

// What a member must remember is bounded by these.
const (
	maxAdmissions    = 4096
	maxPerInvitation = 64 // peers that one invitation lets in
	maxRevocations   = 4096
	maxVisitors      = 256
	visitorGrace     = time.Minute // in which a visitor that was let in must have connected
)

var (
	errFull        = errors.New("the network has no room for another invited peer; ask an inviter to revoke invitations that are not needed")
	errUsedUp      = fmt.Errorf("the invitation has let in %d peers already; ask for another", maxPerInvitation)
	errManyVisitor = errors.New("too many visitors at once; try again in a minute")
)

// roll is who the members of a private network are. Its methods are safe for concurrent use.
type roll struct {
	chain    digest.Digest
	inviters map[sign.PublicKey]bool
	allowed  map[sign.PublicKey]bool

	mu       sync.Mutex
	byChain  map[sign.PublicKey]bool
	admitted map[sign.PublicKey]invite.Admission // verified; at most maxAdmissions
	visitors map[sign.PublicKey]visitor          // at most maxVisitors
	revoked  map[invite.ID]invite.Revocation     // verified; at most maxRevocations
	dirty    bool                                // admitted or revoked differ from the file
}

type visitor struct {
	admission invite.Admission
	since     time.Time
}

func newRoll(p *Private, bootstrap []sign.PublicKey) *roll {
	r := &roll{
		chain: p.Chain, inviters: map[sign.PublicKey]bool{}, allowed: map[sign.PublicKey]bool{}, byChain: map[sign.PublicKey]bool{},
		admitted: map[sign.PublicKey]invite.Admission{}, visitors: map[sign.PublicKey]visitor{}, revoked: map[invite.ID]invite.Revocation{},
	}
	for _, k := range p.Inviters {
		r.inviters[k] = true
	}
	for _, list := range [][]sign.PublicKey{p.Allowed, bootstrap} {
		for _, k := range list {
			r.allowed[k] = true
		}
	}
	return r
}

func (r *roll) inviter(k sign.PublicKey) bool { return r.inviters[k] }

// How a peer is a member.
const (
	MemberByConfig     = "configuration"
	MemberByChain      = "chain"
	MemberByInvitation = "invitation"
	MemberAsVisitor    = "visitor"
)

// how says by what a peer is a member now; "" means that it is none.
func (r *roll) how(k sign.PublicKey, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.howLocked(k, now)
}

func (r *roll) howLocked(k sign.PublicKey, now time.Time) string {
	switch {
	case r.allowed[k]:
		return MemberByConfig
	case r.byChain[k]:
		return MemberByChain
	}
	if a, ok := r.admitted[k]; ok && r.holds(&a.Invitation, now) {
		return MemberByInvitation
	}
	if v, ok := r.visitors[k]; ok && r.holds(&v.admission.Invitation, now) {
		return MemberAsVisitor
	}
	return ""
}

func (r *roll) holds(i *invite.Invitation, now time.Time) bool {
	_, gone := r.revoked[i.Body.ID]
	return !gone && !i.Expired(now)
}

// admit takes in a peer by its admission, or says why not. fresh reports that the members did not know of it yet, so that
// it is passed on; an admission as a visitor never is.
func (r *roll) admit(a *invite.Admission, asVisitor bool, now time.Time) (fresh bool, err error) {
	r.mu.Lock()
	old, known := r.admitted[a.Peer]
	_, revoked := r.revoked[a.Invitation.Body.ID]
	known = known && old.Invitation.Sig == a.Invitation.Sig && old.Proof == a.Proof
	r.mu.Unlock()
	switch {
	case revoked:
		return false, invite.ErrRevoked
	case known && old.Invitation.Expired(now):
		return false, invite.ErrExpired
	case known: // members tell each other again and again: no signature is verified twice
		return false, nil
	}
	if err := a.Verify(r.chain, r.inviter, now); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, revoked := r.revoked[a.Invitation.Body.ID]; revoked {
		return false, invite.ErrRevoked
	}
	if asVisitor {
		if _, again := r.visitors[a.Peer]; !again && len(r.visitors) >= maxVisitors {
			return false, errManyVisitor
		}
		r.visitors[a.Peer] = visitor{*a, now}
		return false, nil
	}
	if old, known := r.admitted[a.Peer]; known && r.holds(&old.Invitation, now) && old.Invitation.Body.ExpiresMs >= a.Invitation.Body.ExpiresMs {
		return false, nil // what is known lasts as long
	} else if !known {
		r.forgetLocked(now)
		if len(r.admitted) >= maxAdmissions {
			return false, errFull
		}
	}
	used := 0
	for k, o := range r.admitted {
		if k != a.Peer && o.Invitation.Body.ID == a.Invitation.Body.ID {
			used++
		}
	}
	if used >= maxPerInvitation {
		return false, errUsedUp
	}
	r.admitted[a.Peer], r.dirty = *a, true
	return true, nil
}

// revoke takes a revocation in; fresh reports that it was not known.
func (r *roll) revoke(x *invite.Revocation, now time.Time) (fresh bool, err error) {
	r.mu.Lock()
	old, known := r.revoked[x.ID]
	r.mu.Unlock()
	if known && old.UntilMs >= x.UntilMs {
		return false, nil
	}
	if err := x.Verify(r.chain, r.inviter, now); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(now)
	if _, known := r.revoked[x.ID]; !known && len(r.revoked) >= maxRevocations {
		return false, fmt.Errorf("%d invitations are revoked already, and no more are remembered; the first is forgotten when it would have ended", maxRevocations)
	}
	r.revoked[x.ID], r.dirty = *x, true
	return true, nil
}

// setChain replaces the members that the chain names, and reports whether they are others than before.
func (r *roll) setChain(list []sign.PublicKey) bool {
	next := make(map[sign.PublicKey]bool, len(list))
	for _, k := range list {
		next[k] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := len(next) == len(r.byChain)
	for k := range next {
		same = same && r.byChain[k]
	}
	r.byChain = next
	return !same
}

// forget drops what has ended, and visitors that are not connected any more.
func (r *roll) forget(now time.Time, connected func(sign.PublicKey) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(now)
	for k, v := range r.visitors {
		if !r.holds(&v.admission.Invitation, now) || now.Sub(v.since) > visitorGrace && !connected(k) {
			delete(r.visitors, k)
		}
	}
}

func (r *roll) forgetLocked(now time.Time) {
	for k, a := range r.admitted {
		if !r.holds(&a.Invitation, now) {
			delete(r.admitted, k)
			r.dirty = true
		}
	}
	for id, x := range r.revoked {
		if uint64(now.UnixMilli()) >= x.UntilMs {
			delete(r.revoked, id)
			r.dirty = true
		}
	}
}

// papers is everything that members tell each other, and what the file holds, in one order.
type papers struct {
	_           struct{} `cbor:",toarray"`
	Admissions  []invite.Admission
	Revocations []invite.Revocation
}

func (r *roll) papers() papers {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := papers{Admissions: []invite.Admission{}, Revocations: []invite.Revocation{}}
	for _, a := range r.admitted {
		out.Admissions = append(out.Admissions, a)
	}
	for _, x := range r.revoked {
		out.Revocations = append(out.Revocations, x)
	}
	slices.SortFunc(out.Admissions, func(a, b invite.Admission) int { return slices.Compare(a.Peer[:], b.Peer[:]) })
	slices.SortFunc(out.Revocations, func(a, b invite.Revocation) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return out
}

// list is every member now, in order of their keys.
func (r *roll) list(now time.Time) []Membership {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[sign.PublicKey]bool{}
	for _, set := range []map[sign.PublicKey]bool{r.allowed, r.byChain} {
		for k := range set {
			all[k] = true
		}
	}
	for k := range r.admitted {
		all[k] = true
	}
	for k := range r.visitors {
		all[k] = true
	}
	out := []Membership{}
	for k := range all {
		m := Membership{Key: k, How: r.howLocked(k, now)}
		var i *invite.Invitation
		switch m.How {
		case "":
			continue
		case MemberByInvitation:
			a := r.admitted[k]
			i = &a.Invitation
		case MemberAsVisitor:
			v := r.visitors[k]
			i = &v.admission.Invitation
		}
		if i != nil {
			m.Invitation, m.ExpiresMs = i.Body.ID.String(), i.Body.ExpiresMs
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Membership) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return out
}
