package registry

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

// Namespace is the first part of the DHT keys whose values are descriptions: /bpci/PEER-ID.
const Namespace = "bpci"

// ValueKey is the DHT key of a peer's own description.
func ValueKey(id peer.ID) string { return "/" + Namespace + "/" + id.String() }

// Validator admits descriptions as DHT values: one writer a key, and no value that has expired. It implements
// record.Validator, and is safe for concurrent use.
type Validator struct {
	Network string
	Now     func() time.Time
}

// Validate implements record.Validator.
func (v Validator) Validate(key string, value []byte) error {
	text, ok := strings.CutPrefix(key, "/"+Namespace+"/")
	if !ok {
		return fmt.Errorf("%w: key %.80q is not of /%s", ErrInvalid, key, Namespace)
	}
	id, err := peer.Decode(text)
	if err != nil || id.String() != text {
		return fmt.Errorf("%w: key %.80q names no peer", ErrInvalid, key)
	}
	d, err := Open(value, v.Network)
	if err != nil {
		return err
	}
	if !isKeyOf(id, d.Peer) {
		return fmt.Errorf("%w: of another peer than %s", ErrInvalid, id)
	}
	return d.Fresh(v.Now())
}

func isKeyOf(id peer.ID, k sign.PublicKey) bool {
	pub, err := id.ExtractPublicKey()
	if err != nil {
		return false
	}
	raw, err := pub.Raw()
	return err == nil && string(raw) == string(k[:])
}

// Select implements record.Validator: the newest.
func (v Validator) Select(_ string, values [][]byte) (int, error) {
	best, at := (*Signed)(nil), -1
	for i, raw := range values {
		d, err := Open(raw, v.Network)
		if err == nil && (best == nil || d.Newer(best)) {
			best, at = d, i
		}
	}
	if best == nil {
		return 0, errors.New("no value is a description")
	}
	return at, nil
}
