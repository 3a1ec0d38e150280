package cage

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// jsonKind is the kind of a JSON value, in words for a person.
type jsonKind string

const (
	jsonObject jsonKind = "an object"
	jsonList   jsonKind = "a list"
	jsonString jsonKind = "a string"
	jsonNumber jsonKind = "a number"
	jsonBool   jsonKind = "true or false"
	jsonNull   jsonKind = "null"
)

// jsonValue is one value of a JSON text, with the place where it begins, so that whatever turns out to be wrong with it
// can be shown there.
type jsonValue struct {
	kind    jsonKind
	at      int // offset in the text
	text    string
	number  uint64
	yes     bool
	items   []jsonValue
	members []jsonMember // in the order of the text
}

type jsonMember struct {
	name  string
	at    int
	value jsonValue
}

// PolicyError says what is wrong with the text of a policy, and where.
type PolicyError struct {
	Line, Column int    // from 1; the column counts bytes
	Cause        string // and what would be right
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Cause)
}

// policyText reads JSON of the few kinds that a policy needs: numbers are whole and not negative, no name stands twice
// in an object.
type policyText struct {
	b  []byte
	at int
}

// maxPolicyDepth is more than any policy needs.
const maxPolicyDepth = 16

func (t *policyText) fail(at int, format string, args ...any) *PolicyError {
	e := &PolicyError{Line: 1, Column: 1, Cause: fmt.Sprintf(format, args...)}
	for _, c := range t.b[:min(at, len(t.b))] {
		e.Column++
		if c == '\n' {
			e.Line, e.Column = e.Line+1, 1
		}
	}
	return e
}

// all is the one value of the text.
func (t *policyText) all() (jsonValue, error) {
	if !utf8.Valid(t.b) {
		return jsonValue{}, t.fail(len(validPrefix(t.b)), "this byte is not UTF-8; save the file as UTF-8")
	}
	v, err := t.value(0)
	if err != nil {
		return v, err
	}
	if t.space(); t.at < len(t.b) {
		return v, t.fail(t.at, "%s after the end of the policy; a file holds one", t.here())
	}
	return v, nil
}

func validPrefix(b []byte) []byte {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return b[:n]
}

func (t *policyText) space() {
	for t.at < len(t.b) && (t.b[t.at] == ' ' || t.b[t.at] == '\t' || t.b[t.at] == '\n' || t.b[t.at] == '\r') {
		t.at++
	}
}

// here names what stands at the reader's place.
func (t *policyText) here() string {
	if t.at >= len(t.b) {
		return "the end of the file"
	}
	r, _ := utf8.DecodeRune(t.b[t.at:])
	return strconv.QuoteRune(r)
}

// next takes the byte c if it stands here, behind spaces.
func (t *policyText) next(c byte) bool {
	t.space()
	if t.at < len(t.b) && t.b[t.at] == c {
		t.at++
		return true
	}
	return false
}

func (t *policyText) value(depth int) (jsonValue, error) {
	t.space()
	v := jsonValue{at: t.at}
	if depth > maxPolicyDepth {
		return v, t.fail(t.at, "values nested deeper than %d; no policy needs that", maxPolicyDepth)
	}
	if t.at >= len(t.b) {
		return v, t.fail(t.at, "the file ends where a value is wanted")
	}
	var err error
	switch c := t.b[t.at]; {
	case c == '{':
		v.kind = jsonObject
		v.members, err = t.object(depth)
	case c == '[':
		v.kind = jsonList
		v.items, err = t.list(depth)
	case c == '"':
		v.kind = jsonString
		v.text, err = t.string()
	case c == '-' || c >= '0' && c <= '9':
		v.kind = jsonNumber
		v.number, err = t.number()
	default:
		err = t.word(&v)
	}
	return v, err
}

func (t *policyText) object(depth int) ([]jsonMember, error) {
	t.at++
	members := []jsonMember{}
	if t.next('}') {
		return members, nil
	}
	for {
		t.space()
		m := jsonMember{at: t.at}
		if t.at >= len(t.b) || t.b[t.at] != '"' {
			return nil, t.fail(t.at, "%s where a name in double quotes is wanted", t.here())
		}
		var err error
		if m.name, err = t.string(); err != nil {
			return nil, err
		}
		for _, other := range members {
			if other.name == m.name {
				return nil, t.fail(m.at, "%q stands here a second time, first on line %d; keep one of them", m.name, t.fail(other.at, "").Line)
			}
		}
		if !t.next(':') {
			return nil, t.fail(t.at, "%s where a colon is wanted, after the name %q", t.here(), m.name)
		}
		if m.value, err = t.value(depth + 1); err != nil {
			return nil, err
		}
		members = append(members, m)
		if t.next('}') {
			return members, nil
		}
		if !t.next(',') {
			return nil, t.fail(t.at, "%s where a comma or the end of the object is wanted", t.here())
		}
	}
}

func (t *policyText) list(depth int) ([]jsonValue, error) {
	t.at++
	items := []jsonValue{}
	if t.next(']') {
		return items, nil
	}
	for {
		v, err := t.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if t.next(']') {
			return items, nil
		}
		if !t.next(',') {
			return nil, t.fail(t.at, "%s where a comma or the end of the list is wanted", t.here())
		}
	}
}

// string reads a string; what its escapes mean is left to the standard library.
func (t *policyText) string() (string, error) {
	start := t.at
	for t.at++; t.at < len(t.b) && t.b[t.at] != '"' && t.b[t.at] != '\n'; t.at++ {
		if t.b[t.at] == '\\' {
			t.at++
		}
	}
	if t.at >= len(t.b) || t.b[t.at] != '"' {
		t.at = min(t.at, len(t.b))
		return "", t.fail(start, "this string has no closing quote on its line")
	}
	t.at++
	var s string
	if err := json.Unmarshal(t.b[start:t.at], &s); err != nil {
		return "", t.fail(start, "this is no JSON string: %v", err)
	}
	return s, nil
}

func (t *policyText) number() (uint64, error) {
	start := t.at
	for t.at < len(t.b) && (t.b[t.at] >= '0' && t.b[t.at] <= '9' || t.b[t.at] == '-' || t.b[t.at] == '+' || t.b[t.at] == '.' || t.b[t.at]|0x20 == 'e') {
		t.at++
	}
	s := string(t.b[start:t.at])
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) > 1 && s[0] == '0' {
		return 0, t.fail(start, "%.40s: want a whole number of at most 64 bits, written in decimal digits", s)
	}
	return n, nil
}

func (t *policyText) word(v *jsonValue) error {
	end := t.at
	for end < len(t.b) && t.b[end]|0x20 >= 'a' && t.b[end]|0x20 <= 'z' {
		end++
	}
	switch s := string(t.b[t.at:end]); s {
	case "true", "false":
		v.kind, v.yes = jsonBool, s == "true"
	case "null":
		v.kind = jsonNull
	default:
		return t.fail(t.at, "%s where a value is wanted: an object, a list, a string, a number, true or false", t.here())
	}
	t.at = end
	return nil
}
