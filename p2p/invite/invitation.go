package invite

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

const (
	// MaxBytes bounds every document of this package in its binary form.
	MaxBytes = 4 << 10
	// MaxBootstrap and MaxAddrBytes bound the addresses of an invitation.
	MaxBootstrap = 8
	MaxAddrBytes = 256
	// MaxLife is the longest that an invitation may last: a leap year.
	MaxLife = 366 * 24 * time.Hour
)

// Why an admission is not taken. The texts are for the peer that showed it.
var (
	ErrOtherNetwork = errors.New("the invitation is for another network")
	ErrForged       = errors.New("the invitation's signature is not valid")
	ErrNotInviter   = errors.New("the invitation is signed by a key that this network does not name as an inviter")
	ErrOtherPeer    = errors.New("the invitation is for another peer")
	ErrExpired      = errors.New("the invitation has expired")
	ErrRevoked      = errors.New("the invitation was revoked")
)

// ID names an invitation. It is random.
type ID [16]byte

// String is 32 hexadecimal digits.
func (i ID) String() string { return hex.EncodeToString(i[:]) }

// ParseID reads 32 hexadecimal digits.
func ParseID(s string) (ID, error) {
	var i ID
	if len(s) != 2*len(i) {
		return i, fmt.Errorf("invitation id %.40q: want %d hexadecimal digits", s, 2*len(i))
	}
	if _, err := hex.Decode(i[:], []byte(s)); err != nil || i.String() != s {
		return i, fmt.Errorf("invitation id %.40q: want %d lower-case hexadecimal digits", s, 2*len(i))
	}
	return i, nil
}

// Body is what an inviter signs.
type Body struct {
	_         struct{}       `cbor:",toarray"`
	Network   string         // the chain's display name
	Chain     digest.Digest  // of the genesis document: what the peer fetches must have it
	Bootstrap []string       // 1 to MaxBootstrap multiaddrs with /p2p/, in the order in which they are tried
	IssuedMs  uint64         // Unix milliseconds
	ExpiresMs uint64         // Unix milliseconds; from then on it lets nobody in, and who came by it is put out
	ID        ID             // random
	Peer      sign.PublicKey // the one peer that it lets in; zero: whoever has the ticket
	Token     sign.PublicKey // the ticket's public half; zero if Peer is set
	Sealed    bool           // whether the network has a swarm key, which is handed over apart
	Inviter   sign.PublicKey
}

// Invitation is a body with its inviter's signature.
type Invitation struct {
	_    struct{} `cbor:",toarray"`
	Body Body
	Sig  sign.Signature
}

func (b *Body) signingBytes() []byte {
	return append([]byte("bpci/invitation/1\x00"), canon.Must(b)...)
}

// New signs an invitation and gives the ticket to hand over. It fills ID, Token and Inviter from random and key.
func New(body Body, key sign.PrivateKey, random io.Reader) (*Ticket, error) {
	t := &Ticket{Secret: []byte{}}
	if _, err := io.ReadFull(random, body.ID[:]); err != nil {
		return nil, fmt.Errorf("draw an invitation's id: %w", err)
	}
	body.Token = sign.PublicKey{}
	if body.Peer.IsZero() {
		token, err := sign.Generate(random)
		if err != nil {
			return nil, fmt.Errorf("draw an invitation's secret: %w", err)
		}
		body.Token, t.Secret = token.Public(), token.Seed()
	}
	body.Inviter = key.Public()
	if err := body.check(); err != nil {
		return nil, err
	}
	t.Invitation = Invitation{Body: body, Sig: key.Sign(body.signingBytes())}
	if n := len(canon.Must(t)); n > MaxBytes {
		return nil, fmt.Errorf("invitation of %d bytes: at most %d; name fewer bootstrap addresses", n, MaxBytes)
	}
	return t, nil
}

var networkName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// check refuses a body that no inviter makes.
func (b *Body) check() error {
	switch {
	case !networkName.MatchString(b.Network):
		return fmt.Errorf("invitation: network %.80q: want 1 to 64 letters, digits, '.', '_' or '-'", b.Network)
	case b.Chain.IsZero():
		return errors.New("invitation: it names no chain")
	case b.Inviter.IsZero():
		return errors.New("invitation: it names no inviter")
	case b.Peer.IsZero() == b.Token.IsZero():
		return errors.New("invitation: want either a peer or the public half of a secret")
	case b.ExpiresMs <= b.IssuedMs || b.ExpiresMs-b.IssuedMs > uint64(MaxLife.Milliseconds()):
		return fmt.Errorf("invitation: it lasts %d ms: want more than none and at most %d days", int64(b.ExpiresMs-b.IssuedMs), MaxLife/(24*time.Hour))
	case len(b.Bootstrap) == 0 || len(b.Bootstrap) > MaxBootstrap:
		return fmt.Errorf("invitation: %d bootstrap addresses: want 1 to %d", len(b.Bootstrap), MaxBootstrap)
	}
	for _, s := range b.Bootstrap {
		if len(s) > MaxAddrBytes {
			return fmt.Errorf("invitation: a bootstrap address of %d bytes: at most %d", len(s), MaxAddrBytes)
		}
		m, err := ma.NewMultiaddr(s)
		if err != nil {
			return fmt.Errorf("invitation: bootstrap address %q: %w", s, err)
		}
		if _, err := peer.AddrInfoFromP2pAddr(m); err != nil {
			return fmt.Errorf("invitation: bootstrap address %q: %w", s, err)
		}
		if m.String() != s {
			return fmt.Errorf("invitation: bootstrap address %q is spelt %q", s, m)
		}
	}
	return nil
}

// Verify says whether the invitation lets somebody into the chain's network now: nil, or one of this package's errors.
// Whether it was revoked, the caller knows.
func (i *Invitation) Verify(chain digest.Digest, inviter func(sign.PublicKey) bool, now time.Time) error {
	switch {
	case i.Body.Chain != chain:
		return ErrOtherNetwork
	case !inviter(i.Body.Inviter):
		return ErrNotInviter
	case i.Expired(now):
		return ErrExpired
	case !sign.Verify(i.Body.Inviter, i.Body.signingBytes(), i.Sig):
		return ErrForged
	}
	return nil
}

// Expires is when the invitation ends.
func (i *Invitation) Expires() time.Time { return time.UnixMilli(int64(i.Body.ExpiresMs)) }

// Expired reports whether it has ended.
func (i *Invitation) Expired(now time.Time) bool { return !now.Before(i.Expires()) }
