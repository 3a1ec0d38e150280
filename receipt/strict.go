package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrForm is returned for a document that decodes, but is not what this package would have written for its content:
// unknown or repeated members, another order, another spelling of a value.
var ErrForm = errors.New("not in canonical form")

// marshal is the compact form: members in the order of the struct's fields, no HTML escapes, no newline at the end.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// indent is marshal for people: two spaces a level and a newline at the end.
func indent(v any) ([]byte, error) {
	c, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, c, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// unmarshal reads one document of at most limit bytes into v. White space between tokens is free, for a receipt may
// be indented anew; everything else must be as marshal writes it (ErrForm). So members come in one order, once, in
// their exact case, and a value has one spelling.
func unmarshal(b []byte, v any, what string, limit int) error {
	if len(b) > limit {
		return fmt.Errorf("%s of %d bytes: over the limit of %d", what, len(b), limit)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the %s: text after its end: %w", what, ErrForm)
	}
	var have bytes.Buffer
	if err := json.Compact(&have, b); err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	if hasNull(have.Bytes()) {
		return fmt.Errorf("read the %s: a value is null: %w", what, ErrForm)
	}
	want, err := marshal(v)
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	if !bytes.Equal(have.Bytes(), want) {
		return fmt.Errorf("read the %s: %w", what, ErrForm)
	}
	return nil
}

// hasNull reports whether a JSON text holds a null, which would be a second spelling of an empty list.
func hasNull(text []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		t, err := dec.Token()
		if err != nil {
			return false
		}
		if t == nil {
			return true
		}
	}
}
