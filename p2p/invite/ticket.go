package invite

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Ticket is an invitation with the secret that goes with it.
type Ticket struct {
	_          struct{} `cbor:",toarray"`
	Invitation Invitation
	Secret     []byte // 32 bytes, the seed of Body.Token; empty if the invitation names its peer
}

const (
	textPrefix   = "bpi1"
	maxTextBytes = 16 << 10 // with all the white space that mail puts in
	checkBytes   = 4
)

// The alphabet has no upper case, no punctuation and nothing that chats take for markup.
var text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func check(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte("bpci/ticket/1\x00"), raw...))
	return sum[:checkBytes]
}

// Text is the form that people pass on: one word of a-z and 2-7 that begins with bpi1.
func (t *Ticket) Text() string {
	raw := canon.Must(t)
	return textPrefix + text.EncodeToString(append(raw, check(raw)...))
}

// ParseText reads Text. White space anywhere, as mail programs put in, and capital letters do no harm.
func ParseText(s string) (*Ticket, error) {
	if len(s) > maxTextBytes {
		return nil, fmt.Errorf("invitation of %d characters: at most %d", len(s), maxTextBytes)
	}
	s = strings.ToLower(strings.Join(strings.Fields(s), ""))
	body, ok := strings.CutPrefix(s, textPrefix)
	if !ok {
		return nil, fmt.Errorf("%.16q is no invitation: it begins with %s; copy the whole text that bpi network invite printed", s, textPrefix)
	}
	raw, err := text.DecodeString(body)
	if err != nil || len(raw) <= checkBytes || text.EncodeToString(raw) != body {
		return nil, errors.New("the invitation is damaged: a character is missing, or is none of a-z and 2-7; copy the whole text again")
	}
	raw, sum := raw[:len(raw)-checkBytes], raw[len(raw)-checkBytes:]
	if string(check(raw)) != string(sum) {
		return nil, errors.New("the invitation is damaged: its check digits do not match; copy the whole text again")
	}
	return decodeTicket(raw)
}

func decodeTicket(raw []byte) (*Ticket, error) {
	var t Ticket
	if err := decode(raw, &t, "invitation"); err != nil {
		return nil, err
	}
	b := &t.Invitation.Body
	if err := b.check(); err != nil {
		return nil, err
	}
	switch {
	case b.Peer.IsZero() && len(t.Secret) != 32:
		return nil, fmt.Errorf("invitation: a secret of %d bytes: want 32", len(t.Secret))
	case b.Peer.IsZero() && sign.FromSeed(t.Secret).Public() != b.Token:
		return nil, errors.New("invitation: the secret is not the one that it was signed for")
	case !b.Peer.IsZero() && len(t.Secret) != 0:
		return nil, errors.New("invitation: one that names its peer has no secret")
	case !sign.Verify(b.Inviter, b.signingBytes(), t.Invitation.Sig):
		return nil, ErrForged
	}
	return &t, nil
}
