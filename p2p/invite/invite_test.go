package invite

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

func seed(n byte) sign.PrivateKey { return sign.FromSeed(bytes.Repeat([]byte{n}, 32)) }

var (
	inviter = seed(1)
	joiner  = seed(2)
	chain   = digest.Of([]byte("a genesis document"))
	now     = time.UnixMilli(1_800_000_000_000)
)

const bootstrap = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"

func body() Body {
	return Body{
		Network: "acme-7f3a91", Chain: chain, Bootstrap: []string{bootstrap},
		IssuedMs: uint64(now.UnixMilli()), ExpiresMs: uint64(now.Add(time.Hour).UnixMilli()),
	}
}

func ticket(t testing.TB, change func(*Body)) *Ticket {
	t.Helper()
	b := body()
	if change != nil {
		change(&b)
	}
	k, err := New(b, inviter, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func named(k sign.PublicKey) bool { return k == inviter.Public() }

func TestTicketSurvivesChatAndMail(t *testing.T) {
	for name, k := range map[string]*Ticket{"bearer": ticket(t, nil), "bound": ticket(t, func(b *Body) { b.Peer = joiner.Public() })} {
		s := k.Text()
		if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz1234567") != "" {
			t.Errorf("%s: text %q has characters that chats may change", name, s)
		}
		var wrapped strings.Builder
		for i, r := range s {
			if i%72 == 71 {
				wrapped.WriteString("\r\n  ")
			}
			wrapped.WriteRune(r)
		}
		for _, form := range []string{s, "\t" + wrapped.String() + "\n", strings.ToUpper(s[:1]) + s[1:]} {
			back, err := ParseText(form)
			if err != nil || !bytes.Equal(canon.Must(back), canon.Must(k)) {
				t.Errorf("%s: %q: %v", name, form, err)
			}
		}
		for i := range s {
			for _, bad := range []string{s[:i] + s[i+1:], s[:i] + string('a'+(s[i]+1)%26) + s[i+1:]} {
				if bad == s {
					continue
				}
				if _, err := ParseText(bad); err == nil {
					t.Fatalf("%s: a change at character %d goes unnoticed", name, i)
				}
			}
		}
	}
}

func TestAdmissionLetsInWhomItIsFor(t *testing.T) {
	bearer, bound := ticket(t, nil), ticket(t, func(b *Body) { b.Peer = joiner.Public() })
	for name, k := range map[string]*Ticket{"bearer": bearer, "bound": bound} {
		a, err := k.Bind(joiner.Public())
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeAdmission(a.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Verify(chain, named, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, x := range map[string]struct {
			change func(*Admission)
			chain  digest.Digest
			at     time.Time
			want   error
		}{
			"another peer":  {func(a *Admission) { a.Peer = seed(3).Public() }, chain, now, nil},
			"another chain": {func(*Admission) {}, digest.Of([]byte("another")), now, ErrOtherNetwork},
			"too late":      {func(*Admission) {}, chain, now.Add(time.Hour), ErrExpired},
			"longer life":   {func(a *Admission) { a.Invitation.Body.ExpiresMs++ }, chain, now, ErrForged},
			"a stranger's":  {func(a *Admission) { a.Invitation.Body.Inviter = seed(9).Public() }, chain, now, ErrNotInviter},
			"another proof": {func(a *Admission) { a.Proof[3] ^= 1 }, chain, now, nil},
		} {
			c := *back
			x.change(&c)
			if err := c.Verify(x.chain, named, x.at); err == nil || x.want != nil && !errors.Is(err, x.want) {
				t.Errorf("%s, %s: %v, want %v", name, what, err, x.want)
			}
		}
	}
	if _, err := bound.Bind(seed(3).Public()); !errors.Is(err, ErrOtherPeer) {
		t.Errorf("bind to a peer that is not named: %v", err)
	}
}

func TestNewRefusesWhatNobodyShouldSign(t *testing.T) {
	for what, change := range map[string]func(*Body){
		"network":                 func(b *Body) { b.Network = "a b" },
		"chain":                   func(b *Body) { b.Chain = digest.Digest{} },
		"lasts":                   func(b *Body) { b.ExpiresMs = b.IssuedMs },
		"days":                    func(b *Body) { b.ExpiresMs = b.IssuedMs + uint64(MaxLife.Milliseconds()) + 1 },
		"0 bootstrap":             func(b *Body) { b.Bootstrap = nil },
		"9 bootstrap":             func(b *Body) { b.Bootstrap = strings.Split(strings.Repeat(bootstrap+" ", 9)[:9*len(bootstrap)+8], " ") },
		"invalid p2p multiaddr":   func(b *Body) { b.Bootstrap = []string{"/ip4/192.0.2.7/tcp/4001"} },
		"bootstrap address of":    func(b *Body) { b.Bootstrap = []string{"/dns4/" + strings.Repeat("a", 300) + "/tcp/1"} },
		"is spelt":                func(b *Body) { b.Bootstrap = []string{strings.Replace(bootstrap, "/p2p/", "/ipfs/", 1)} },
		"bootstrap address \"rub": func(b *Body) { b.Bootstrap = []string{"rubbish"} },
	} {
		b := body()
		change(&b)
		if _, err := New(b, inviter, rand.Reader); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRevocationIsAnInvitersAndEndsWithTheInvitation(t *testing.T) {
	id := ticket(t, nil).Invitation.Body.ID
	until := now.Add(time.Hour)
	r, err := DecodeRevocation(Revoke(chain, id, until, inviter).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(chain, named, now); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"another network":  r.Verify(digest.Digest{1}, named, now),
		"as an inviter":    Revoke(chain, id, until, joiner).Verify(chain, named, now),
		"nothing to":       r.Verify(chain, named, until),
		"than any":         Revoke(chain, id, now.Add(MaxLife+48*time.Hour), inviter).Verify(chain, named, now),
		"is not valid":     func() error { c := *r; c.ID[0] ^= 1; return c.Verify(chain, named, now) }(),
		"than any invitat": func() error { c := *r; c.UntilMs = 1<<64 - 1; return c.Verify(chain, named, now) }(),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if back, err := ParseID(id.String()); err != nil || back != id {
		t.Errorf("ParseID = %v, %v", back, err)
	}
	for _, bad := range []string{"", "zz", strings.ToUpper("aabbccddeeff00112233445566778899"), strings.Repeat("g", 32)} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("id %q is taken", bad)
		}
	}
}

func FuzzTicket(f *testing.F) {
	k := ticket(f, nil)
	f.Add(k.Text())
	f.Add(ticket(f, func(b *Body) { b.Peer = joiner.Public() }).Text())
	f.Add("bpi1")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseText(s)
		if err != nil {
			return
		}
		if k.Text() != strings.ToLower(strings.Join(strings.Fields(s), "")) {
			t.Fatal("a second spelling is taken")
		}
		if _, err := k.Bind(joiner.Public()); err != nil && k.Invitation.Body.Peer.IsZero() {
			t.Fatal(err)
		}
	})
}

// FuzzTicketBytes goes past the check digits.
func FuzzTicketBytes(f *testing.F) {
	f.Add(canon.Must(ticket(f, nil)))
	f.Add([]byte{0x82})
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := decodeTicket(raw)
		if err == nil && !bytes.Equal(canon.Must(k), raw) {
			t.Fatal("a second encoding is taken")
		}
	})
}

func FuzzAdmissionAndRevocation(f *testing.F) {
	a, err := ticket(f, nil).Bind(joiner.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.Encode())
	f.Add(Revoke(chain, ID{1}, now, inviter).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if a, err := DecodeAdmission(raw); err == nil {
			_ = a.Verify(chain, named, now)
			if !bytes.Equal(a.Encode(), raw) {
				t.Fatal("a second encoding of an admission is taken")
			}
		}
		if r, err := DecodeRevocation(raw); err == nil {
			_ = r.Verify(chain, named, now)
			if !bytes.Equal(r.Encode(), raw) {
				t.Fatal("a second encoding of a revocation is taken")
			}
		}
	})
}
