// Package canon is the one encoding of everything that is hashed, signed or replicated: deterministic CBOR
// (RFC 8949 section 4.2.1). A value has exactly one spelling, and the decoder accepts no other.
package canon

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// ErrNotCanonical is returned for bytes that decode to a value whose encoding is not those bytes.
var ErrNotCanonical = errors.New("not in canonical form")

// MaxElements bounds the elements of any one array or map that Unmarshal accepts.
const MaxElements = 1 << 17

var (
	enc = mustEnc()
	dec = mustDec()
)

func mustEnc() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.NaNConvert = cbor.NaNConvertReject
	o.InfConvert = cbor.InfConvertReject
	o.IndefLength = cbor.IndefLengthForbidden
	o.TagsMd = cbor.TagsForbidden
	o.NilContainers = cbor.NilContainerAsEmpty
	m, err := o.EncMode()
	if err != nil {
		panic(err) // the options are constants: only a wrong build of the library can fail here
	}
	return m
}

func mustDec() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   16,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxElements,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// Marshal encodes v. Structs that are hashed or signed use `cbor:",toarray"` or integer keys and hold integers,
// strings, byte strings, arrays and nested structs: no floats, no maps with interface values, no pointers to nil
// (a nil slice is encoded as an empty one).
func Marshal(v any) ([]byte, error) {
	b, err := enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Must is Marshal for values that this program built itself from encodable types. It panics on failure, which
// can only be a programming error.
func Must(v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// UnmarshalOwn decodes what Marshal made: on this node, or on others under a root that was verified. It refuses what
// Unmarshal refuses, but not each other spelling of a value, and costs half as much. v does not alias b.
func UnmarshalOwn(b []byte, v any) error {
	if err := dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// Unmarshal decodes b into v, and refuses trailing bytes, duplicate or unknown keys, indefinite lengths, tags, deep
// nesting and every spelling but the canonical one (ErrNotCanonical). The caller bounds len(b). v does not alias b.
func Unmarshal(b []byte, v any) error {
	if err := dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	again, err := enc.Marshal(v)
	if err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("decode %T: %w", v, ErrNotCanonical)
	}
	return nil
}
