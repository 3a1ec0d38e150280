// Package digest names bytes: SHA-256 with a domain tag in front, so that no hash made for one purpose can be
// passed off as another.
package digest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/metanode/metanode/internal/lowhex"
)

// Size is the length of a Digest in bytes.
const Size = 32

// Digest is a SHA-256 value. The zero Digest means "none" and never names content.
type Digest [Size]byte

// Sum hashes parts under the domain tag. Every part is preceded by its length (8 bytes, big-endian), and so is the
// tag, so that two different lists of parts never hash alike.
func Sum(tag string, parts ...[]byte) Digest {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(tag)))
	h.Write(n[:])
	h.Write([]byte(tag))
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

// Of is the plain SHA-256 of b, the name of a blob: what sha256sum prints.
func Of(b []byte) Digest { return sha256.Sum256(b) }

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// Compare orders digests as byte strings.
func (d Digest) Compare(e Digest) int { return bytes.Compare(d[:], e[:]) }

// String is the digest in 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short is the first 12 hexadecimal digits, for people and logs.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// Parse reads 64 hexadecimal digits, with or without "sha256:" in front.
func Parse(s string) (Digest, error) {
	var d Digest
	h := strings.TrimPrefix(s, "sha256:")
	if err := lowhex.Decode(d[:], []byte(h), "digest"); err != nil {
		return Digest{}, fmt.Errorf("%.80q: %w", s, err)
	}
	return d, nil
}

// MarshalBinary gives the 32 bytes. The codec of package canon writes them at once, where it would go through an array
// byte by byte.
func (d *Digest) MarshalBinary() ([]byte, error) { return d[:], nil }

// UnmarshalBinary takes 32 bytes.
func (d *Digest) UnmarshalBinary(b []byte) error {
	if len(b) != Size {
		return fmt.Errorf("digest of %d bytes: want %d", len(b), Size)
	}
	*d = Digest(b)
	return nil
}

// MarshalText gives the 64 hexadecimal digits, so that JSON shows digests as strings.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is Parse.
func (d *Digest) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
