package registry

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Bounds of a description. MaxBytes is of the signed envelope.
const (
	MaxBytes    = 4 << 10
	MaxOffers   = 16
	MaxLabels   = 32
	MaxLabel    = 64
	MaxNetwork  = 64
	MaxLifetime = 10 * time.Minute
)

// Refusals. ErrInvalid is for bytes that no honest peer sends, whatever the time is.
var (
	ErrInvalid = errors.New("description is not acceptable")
	ErrExpired = errors.New("description has expired")
	ErrFuture  = errors.New("description expires later than any may: its signer's clock or this one's is off")
)

// Version is a service's version. Peers of one major version understand each other.
type Version struct {
	_     struct{} `cbor:",toarray"`
	Major uint32
	Minor uint32
}

// String is "1.0".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Offer is one service that a peer provides.
type Offer struct {
	_        struct{} `cbor:",toarray"`
	Service  string
	Version  Version
	Capacity uint32   // requests that it takes at once; 0 takes none at present
	Labels   []string // "key=value" or words, sorted, each once
}

// ID is the service with its major version, as in "sql/1".
func (o Offer) ID() string { return o.Service + "/" + strconv.FormatUint(uint64(o.Version.Major), 10) }

// Description is what one peer offers. Offers are sorted by service and major version, each once.
type Description struct {
	_         struct{} `cbor:",toarray"`
	Peer      sign.PublicKey
	Network   string
	Seq       uint64
	ExpiresMs uint64 // milliseconds since 1970
	Offers    []Offer
}

// Signed is a description that its peer signed. It is only made by Seal and Open, and not changed.
type Signed struct {
	Description
	Raw []byte // the envelope
}

// Offer finds an offer of a service's major version.
func (d *Description) Offer(service string, major uint32) (Offer, bool) {
	i, ok := slices.BinarySearchFunc(d.Offers, Offer{Service: service, Version: Version{Major: major}}, byService)
	if !ok {
		return Offer{}, false
	}
	return d.Offers[i], true
}

func byService(a, b Offer) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Version.Major, b.Version.Major))
}

// SortOffers puts offers and their labels in the order of a description.
func SortOffers(list []Offer) {
	slices.SortFunc(list, byService)
	for _, o := range list {
		slices.Sort(o.Labels)
	}
}

// check refuses what is out of bounds or out of order.
func (d *Description) check() error {
	if d.Network == "" || len(d.Network) > MaxNetwork {
		return fmt.Errorf("network id of %d bytes: want 1 to %d", len(d.Network), MaxNetwork)
	}
	if d.Seq == 0 {
		return errors.New("seq 0: the first is 1")
	}
	if len(d.Offers) > MaxOffers {
		return fmt.Errorf("%d offers: at most %d", len(d.Offers), MaxOffers)
	}
	for i, o := range d.Offers {
		if err := CheckName(o.Service); err != nil {
			return err
		}
		if o.Version.Major == 0 {
			return fmt.Errorf("service %s: major version 0: the first is 1", o.Service)
		}
		if i > 0 && byService(d.Offers[i-1], o) >= 0 {
			return fmt.Errorf("service %s: out of order, or twice", o.Service)
		}
		if len(o.Labels) > MaxLabels {
			return fmt.Errorf("service %s: %d labels, at most %d", o.Service, len(o.Labels), MaxLabels)
		}
		for j, l := range o.Labels {
			if err := checkLabel(l); err != nil {
				return fmt.Errorf("service %s: %w", o.Service, err)
			}
			if j > 0 && o.Labels[j-1] >= l {
				return fmt.Errorf("service %s: label %q out of order, or twice", o.Service, l)
			}
		}
	}
	return nil
}

func checkLabel(l string) error {
	if l == "" || len(l) > MaxLabel {
		return fmt.Errorf("label of %d bytes: want 1 to %d", len(l), MaxLabel)
	}
	for i := range len(l) {
		if l[i] <= ' ' || l[i] > '~' {
			return fmt.Errorf("label %q: want printable ASCII without spaces", l)
		}
	}
	return nil
}

// payload is the description as libp2p signs it. The domain keeps its signature from meaning anything elsewhere.
type payload struct{ d *Description }

var _ record.Record = payload{}

const domain = "bpci-service-description"

var codec = []byte("/bpci/description/1")

func (payload) Domain() string                   { return domain }
func (payload) Codec() []byte                    { return codec }
func (p payload) MarshalRecord() ([]byte, error) { return canon.Marshal(p.d) }
func (p payload) UnmarshalRecord(b []byte) error { return canon.Unmarshal(b, p.d) }

// Seal signs d, whose Peer becomes key's public half. A description out of bounds is an error of the caller's.
func Seal(key sign.PrivateKey, d Description) (*Signed, error) {
	d.Peer = key.Public()
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("describe this peer: %w", err)
	}
	k, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(key.Seed()))
	if err != nil {
		return nil, fmt.Errorf("describe this peer: %w", err)
	}
	e, err := record.Seal(payload{&d}, k)
	if err != nil {
		return nil, fmt.Errorf("describe this peer: %w", err)
	}
	raw, err := e.Marshal()
	if err != nil {
		return nil, fmt.Errorf("describe this peer: %w", err)
	}
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("describe this peer: %d bytes, at most %d: offer less, or with fewer labels", len(raw), MaxBytes)
	}
	return Open(raw, d.Network)
}

// Open reads a description and checks everything but the time. Every error is an ErrInvalid. The result keeps a copy of
// raw.
func Open(raw []byte, network string) (*Signed, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalid, len(raw), MaxBytes)
	}
	s := &Signed{Raw: bytes.Clone(raw)}
	e, err := record.ConsumeTypedEnvelope(s.Raw, payload{&s.Description})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !bytes.Equal(e.PayloadType, codec) {
		return nil, fmt.Errorf("%w: payload of type %.40q", ErrInvalid, e.PayloadType)
	}
	// Protobuf has many spellings of one envelope; a second one would pass gossip's memory of what it has seen.
	if again, err := e.Marshal(); err != nil || !bytes.Equal(again, raw) {
		return nil, fmt.Errorf("%w: not the one spelling of its envelope", ErrInvalid)
	}
	signer, err := e.PublicKey.Raw()
	if err != nil || e.PublicKey.Type() != crypto.Ed25519 || !bytes.Equal(signer, s.Peer[:]) {
		return nil, fmt.Errorf("%w: signed by another key than that of the peer it describes", ErrInvalid)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if s.Network != network {
		return nil, fmt.Errorf("%w: of network %.64q, this is %s", ErrInvalid, s.Network, network)
	}
	return s, nil
}

// Fresh is nil while the description is in force.
func (d *Description) Fresh(now time.Time) error {
	ms := now.UnixMilli()
	switch {
	case ms < 0 || d.ExpiresMs <= uint64(ms):
		return ErrExpired
	case d.ExpiresMs-uint64(ms) > uint64(MaxLifetime.Milliseconds()):
		return ErrFuture
	}
	return nil
}

// Newer reports whether s comes after t of the same peer. Two that a peer signed with one seq have an order too, so that
// everyone keeps the same.
func (s *Signed) Newer(t *Signed) bool {
	if s.Seq != t.Seq {
		return s.Seq > t.Seq
	}
	return bytes.Compare(s.Raw, t.Raw) > 0
}
