package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/invite"
)

func seeded(n byte) sign.PrivateKey { return sign.FromSeed(bytes.Repeat([]byte{n}, 32)) }

var (
	testChain   = digest.Of([]byte("a genesis document"))
	testInviter = seeded(201)
)

// private is the part of a configuration that all members share; who is the chain's members.
func private(who ...sign.PrivateKey) func(*Config) {
	return func(c *Config) {
		c.Private = &Private{Chain: testChain, Inviters: []sign.PublicKey{testInviter.Public()}, NoMDNS: true}
		for _, k := range who {
			c.Private.Allowed = append(c.Private.Allowed, k.Public())
		}
	}
}

func all(changes ...func(*Config)) func(*Config) {
	return func(c *Config) {
		for _, change := range changes {
			change(c)
		}
	}
}

func withKey(k sign.PrivateKey) func(*Config) { return func(c *Config) { c.Key = k } }

func newTicket(t testing.TB, life time.Duration, at ...*Host) *invite.Ticket {
	t.Helper()
	b := invite.Body{Network: "testnet-1", Chain: testChain, IssuedMs: uint64(time.Now().UnixMilli()), ExpiresMs: uint64(time.Now().Add(life).UnixMilli())}
	for _, h := range at {
		b.Bootstrap = append(b.Bootstrap, h.Addrs()[0])
	}
	k, err := invite.New(b, testInviter, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// invited makes the configuration of a peer that comes by a ticket.
func invited(t testing.TB, key sign.PrivateKey, k *invite.Ticket) func(*Config) {
	t.Helper()
	a, err := k.Bind(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return all(withKey(key), private(), func(c *Config) {
		c.Private.Admission, c.Bootstrap = a, k.Invitation.Body.Bootstrap
	})
}

// two makes two members that the configuration names, connected to each other.
func two(t *testing.T, more func(*Config)) (*Host, *Host) {
	t.Helper()
	one, other := seeded(1), seeded(2)
	a := testHost(t, all(private(one, other), withKey(one), more))
	b := testHost(t, all(private(one, other), withKey(other), more))
	connect(t, a, b)
	return a, b
}

func nothing(*Config) {}

func TestInvitedPeerIsKnownToEveryMember(t *testing.T) {
	a, b := two(t, nothing)
	j := testHost(t, invited(t, seeded(3), newTicket(t, time.Hour, a)))
	eventually(t, "the joiner is in", func() bool { return a.isMember(j.ID()) && j.isMember(a.ID()) })
	eventually(t, "the other member has heard of it", func() bool { return b.gate.member(j.ID()) })
	// b knows j by a's word, and j does not know b as a member: b is not j's bootstrap peer, and stands on no chain here.
	if _, err := j.Connect(t.Context(), b.Addrs()[0]); !errors.Is(err, errOutsider) {
		t.Errorf("the joiner dials whom it does not know as a member: %v", err)
	}
	j.SetChainMembers([]sign.PublicKey{b.Self()})
	connect(t, j, b)
	for _, m := range b.Members() {
		if m.Key == j.Self() && (m.How != MemberByInvitation || m.Invitation == "" || m.ExpiresMs == 0 || !m.Connected) {
			t.Errorf("the joiner is listed as %+v", m)
		}
	}
	if got := a.Stats().Gate; got.DoorOpened == 0 || got.Outsiders != 0 {
		t.Errorf("gate %+v", got)
	}
}

func TestMembershipEndsWithTheInvitation(t *testing.T) {
	t.Parallel()
	a, b := two(t, nothing)
	k := newTicket(t, 3*time.Second, a)
	j := testHost(t, invited(t, seeded(3), k))
	eventually(t, "the joiner is in", func() bool { return a.isMember(j.ID()) && j.isMember(a.ID()) })
	eventually(t, "the invitation has ended, and the joiner is out", func() bool { return !a.isMember(j.ID()) && len(a.h.Network().ConnsToPeer(j.ID())) == 0 })
	if a.gate.member(j.ID()) || b.gate.member(j.ID()) {
		t.Error("a member still would let it in")
	}
	// Not before it has noticed that its old connection is gone.
	eventually(t, "the joiner comes again and is told why it may not", func() bool {
		_, err := j.Connect(t.Context(), a.Addrs()[0])
		return errors.Is(err, ErrNotAdmitted) && strings.Contains(err.Error(), "has expired")
	})
	if got := a.Stats().Gate; got.PutOut == 0 || got.DoorRefused == 0 {
		t.Errorf("gate %+v", got)
	}
}

func TestRevocationSpreadsAndLasts(t *testing.T) {
	dir := t.TempDir()
	one, other := seeded(1), seeded(2)
	var cfg Config
	a := testHost(t, all(private(one, other), withKey(one), func(c *Config) { c.DataDir = dir; cfg = *c }))
	b := testHost(t, all(private(one, other), withKey(other)))
	connect(t, a, b)
	k := newTicket(t, time.Hour, a)
	j := testHost(t, invited(t, seeded(3), k))
	eventually(t, "the joiner is in", func() bool { return a.isMember(j.ID()) && j.isMember(a.ID()) })
	eventually(t, "the other member has heard of it", func() bool { return b.gate.member(j.ID()) })

	id, until := k.Invitation.Body.ID, k.Invitation.Expires()
	if err := b.Revoke(invite.Revoke(testChain, id, until, seeded(99))); err == nil || b.gate.roll.revoked[id].UntilMs != 0 {
		t.Fatalf("a stranger revokes: %v", err)
	}
	if err := b.Revoke(invite.Revoke(testChain, id, until, testInviter)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the member that the joiner is connected to has put it out", func() bool { return !a.isMember(j.ID()) && !a.gate.member(j.ID()) })
	eventually(t, "the joiner comes again and is told why it may not", func() bool {
		_, err := j.Connect(t.Context(), a.Addrs()[0])
		return errors.Is(err, ErrNotAdmitted) && strings.Contains(err.Error(), "was revoked")
	})
	// Another peer with the same ticket fares no better, and a member that was away learns of it when it connects.
	if _, err := Knock(t.Context(), seeded(4), a.Addrs()[0], mustBind(t, k, seeded(4)), false, nil); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("another peer with the ticket: %v", err)
	}
	_ = a.Close()
	a = testHost(t, func(c *Config) { *c = cfg })
	if _, err := Knock(t.Context(), seeded(4), a.Addrs()[0], mustBind(t, k, seeded(4)), false, nil); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("after a restart the revocation is forgotten: %v", err)
	}
	late := testHost(t, all(private(one, other, seeded(5)), withKey(seeded(5))))
	if _, err := late.Connect(t.Context(), b.Addrs()[0]); !errors.Is(err, errShut) {
		t.Errorf("a peer that the other does not know as a member: %v", err)
	}
	b.SetChainMembers([]sign.PublicKey{late.Self()})
	connect(t, late, b)
	eventually(t, "the late member knows", func() bool { return len(late.roll.papers().Revocations) == 1 })
}

func mustBind(t testing.TB, k *invite.Ticket, key sign.PrivateKey) *invite.Admission {
	t.Helper()
	a, err := k.Bind(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDoorRefusesInWords(t *testing.T) {
	a, _ := two(t, nothing)
	good := mustBind(t, newTicket(t, time.Hour, a), seeded(3))
	for want, change := range map[string]func() *invite.Admission{
		"for another peer": func() *invite.Admission { return mustBind(t, newTicket(t, time.Hour, a), seeded(4)) },
		"signature is not valid": func() *invite.Admission {
			c := *good
			c.Invitation.Body.ExpiresMs++
			return &c
		},
		"does not name as an inviter": func() *invite.Admission {
			b := good.Invitation.Body
			b.Peer = seeded(3).Public()
			k, err := invite.New(b, seeded(98), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return mustBind(t, k, seeded(3))
		},
	} {
		_, err := Knock(t.Context(), seeded(3), a.Addrs()[0], change(), false, nil)
		if !errors.Is(err, ErrNotAdmitted) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if name, err := Knock(t.Context(), seeded(3), a.Addrs()[0], good, false, nil); err != nil || name != "testnet-1" {
		t.Errorf("knock: %q, %v", name, err)
	}
	// The door of another chain is no door here: who does not know the chain cannot ask.
	elsewhere := *good
	elsewhere.Invitation.Body.Chain = digest.Of([]byte("another"))
	if _, err := Knock(t.Context(), seeded(3), a.Addrs()[0], &elsewhere, false, nil); err == nil || errors.Is(err, ErrNotAdmitted) {
		t.Errorf("a knock at another network's door: %v", err)
	}
}

func TestVisitorIsForgottenAndNotSpoken(t *testing.T) {
	a, b := two(t, nothing)
	key := seeded(7)
	adm := mustBind(t, newTicket(t, time.Hour, a), key)
	c := testHost(t, all(withKey(key), private(), func(c *Config) {
		c.Client = true
		c.Private.Admission, c.Private.Visitor, c.Private.Allowed = adm, true, []sign.PublicKey{a.Self()}
	}))
	if _, err := c.Connect(t.Context(), a.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	for _, at := range b.Addrs() {
		if strings.Contains(at, "quic") {
			c.roll.setChain([]sign.PublicKey{b.Self()})
			if _, err := c.Connect(t.Context(), at); !errors.Is(err, errNoDoor) {
				t.Errorf("a visitor comes by QUIC: %v", err)
			}
		}
	}
	eventually(t, "the visitor is in", func() bool { return a.isMember(c.ID()) })
	if how := a.roll.how(key.Public(), time.Now()); how != MemberAsVisitor {
		t.Errorf("it is a member by %q", how)
	}
	if len(a.roll.papers().Admissions) != 0 || b.gate.member(c.ID()) {
		t.Error("a visitor's admission was kept or passed on")
	}
	later := time.Now().Add(visitorGrace + time.Second)
	a.roll.forget(later, func(sign.PublicKey) bool { return true })
	if a.roll.how(key.Public(), later) == "" {
		t.Error("a visitor that is connected is forgotten")
	}
	a.roll.forget(later, func(sign.PublicKey) bool { return false })
	if a.roll.how(key.Public(), later) != "" {
		t.Error("a visitor that is gone is remembered")
	}
}

func TestRollIsBounded(t *testing.T) {
	r := newRoll(&Private{Chain: testChain, Inviters: []sign.PublicKey{testInviter.Public()}}, nil)
	now := time.Now()
	body := invite.Body{Network: "n", Chain: testChain, Bootstrap: []string{"/ip4/192.0.2.7/tcp/1/p2p/" + PeerID(seeded(1).Public()).String()}, IssuedMs: uint64(now.UnixMilli()), ExpiresMs: uint64(now.Add(time.Hour).UnixMilli())}
	k, err := invite.New(body, testInviter, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) sign.PrivateKey {
		seed := make([]byte, 32)
		seed[0], seed[1] = byte(i), byte(i>>8)
		return sign.FromSeed(seed)
	}
	for i := range maxPerInvitation + 1 {
		_, err := r.admit(mustBind(t, k, key(i)), false, now)
		if (err == nil) != (i < maxPerInvitation) {
			t.Fatalf("peer %d of one invitation: %v", i, err)
		}
	}
	for i := range maxVisitors + 1 {
		_, err := r.admit(mustBind(t, k, key(1000+i)), true, now)
		if (err == nil) != (i < maxVisitors) {
			t.Fatalf("visitor %d: %v", i, err)
		}
	}
	for i := range maxRevocations + 1 {
		_, err := r.revoke(invite.Revoke(testChain, invite.ID{byte(i), byte(i >> 8)}, now.Add(time.Hour), testInviter), now)
		if (err == nil) != (i < maxRevocations) {
			t.Fatalf("revocation %d: %v", i, err)
		}
	}
	if n := len(canon.Must(r.papers())); n > maxPapersBytes {
		t.Errorf("papers of %d bytes do not fit in a frame", n)
	}
	r.forget(now.Add(2*time.Hour), func(sign.PublicKey) bool { return true })
	if p := r.papers(); len(p.Admissions)+len(p.Revocations)+len(r.visitors) != 0 {
		t.Error("what has ended is remembered")
	}
}

func TestDamagedFileOfMembersIsAnError(t *testing.T) {
	r := newRoll(&Private{Chain: testChain}, nil)
	if err := r.load([]byte("rubbish"), time.Now()); err == nil {
		t.Fatal("rubbish is taken")
	}
	if err := r.load(canon.Must(&papers{}), time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenNetworkHasNoRoll(t *testing.T) {
	a := testHost(t, nil)
	if a.Members() != nil || a.Revoke(&invite.Revocation{}) == nil {
		t.Error("an open network has members or takes revocations")
	}
	a.SetChainMembers([]sign.PublicKey{{1}})
}

// FuzzKnock is of what a stranger says at the door.
func FuzzKnock(f *testing.F) {
	h := &Host{roll: newRoll(&Private{Chain: testChain, Inviters: []sign.PublicKey{testInviter.Public()}}, nil)}
	b := invite.Body{Network: "n", Chain: testChain, Bootstrap: []string{"/ip4/192.0.2.7/tcp/1/p2p/" + PeerID(seeded(1).Public()).String()}, IssuedMs: 1, ExpiresMs: 2}
	k, err := invite.New(b, testInviter, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(canon.Must(&knock{Admission: *mustBind(f, k, seeded(3))}))
	f.Add([]byte{0x82, 0x83})
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := decodeKnock(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(canon.Must(k), raw) {
			t.Fatal("a second encoding of a knock is taken")
		}
		if _, err := h.roll.admit(&k.Admission, k.Visitor, time.UnixMilli(3)); err == nil {
			t.Fatal("an expired or forged admission is taken")
		}
	})
}

func FuzzPapers(f *testing.F) {
	f.Add(canon.Must(&papers{Admissions: []invite.Admission{}, Revocations: []invite.Revocation{*invite.Revoke(testChain, invite.ID{1}, time.UnixMilli(10), testInviter)}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newRoll(&Private{Chain: testChain, Inviters: []sign.PublicKey{testInviter.Public()}}, nil)
		if p, err := decodePapers(raw); err == nil && !bytes.Equal(canon.Must(p), raw) {
			t.Fatal("a second encoding is taken")
		}
		_ = r.load(raw, time.UnixMilli(5))
	})
}

func FuzzReach(f *testing.F) {
	f.Add(canon.Must(&reachRequest{Ports: []uint16{4001}}))
	f.Add(canon.Must(&reachAnswer{Observed: "192.0.2.1", Errors: []string{"", "refused"}}))
	ports := []uint16{4001, 4002}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a ReachPeer
		if a.read(raw, ports); len(a.Ports) != 0 && len(a.Ports) != len(ports) || len([]rune(a.Observed)) > 64 || (a.Error == "") != (len(a.Ports) > 0) {
			t.Fatalf("an answer about two ports was read as %+v", a)
		}
		if r, err := decodeReach(raw); err == nil && (len(r.Ports) == 0 || len(r.Ports) > maxReachPorts) {
			t.Fatal("bounds")
		}
	})
}

func TestPeersDialEachOtherBack(t *testing.T) {
	a, b := two(t, nothing)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := a.CheckReach(ctx)
	if !r.Reached() || len(r.Asked) != 1 || r.Asked[0].ID != b.ID().String() || r.Asked[0].Observed != "127.0.0.1" {
		t.Fatalf("reach %+v", r)
	}
	if err := b.dialBack(ctx, seeded(50).Public(), netipAt(t, a)); err == nil {
		t.Error("another peer's proof is taken")
	}
	if a.isMember(b.ID()) != true {
		t.Error("the dial back cost the connection")
	}
}
