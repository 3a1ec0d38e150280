package analytics

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// appendJSON writes a value. Integers of any size are JSON numbers; NaN and infinities, which JSON has not, are
// strings; so are decimals, whose digits readers of floats would lose, dates, times, UUIDs; blobs are base64.
func appendJSON(b *bytes.Buffer, t *Type, v Value) {
	quote := func(s string) {
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		_ = e.Encode(s) // a string into a buffer cannot fail
		b.Truncate(b.Len() - 1)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool, int64, uint64:
		fmt.Fprint(b, v)
	case float32, float64:
		s := Text(t, v)
		if strings.ContainsAny(s, "NI") {
			quote(s)
		} else {
			b.WriteString(s)
		}
	case []byte:
		quote(base64.StdEncoding.EncodeToString(v))
	case []Value:
		open, end := byte('['), byte(']')
		if t.Kind == Struct {
			open, end = '{', '}'
		}
		b.WriteByte(open)
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			f := &t.Fields[0]
			if t.Kind == Struct {
				f = &t.Fields[i]
				quote(f.Name)
				b.WriteByte(':')
			}
			appendJSON(b, &f.Type, e)
		}
		b.WriteByte(end)
	case []MapEntry:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`{"key":`)
			appendJSON(b, &t.Fields[0].Type, e.Key)
			b.WriteString(`,"value":`)
			appendJSON(b, &t.Fields[1].Type, e.Value)
			b.WriteByte('}')
		}
		b.WriteByte(']')
	case UnionValue:
		b.WriteByte('{')
		quote(t.Fields[v.Tag].Name)
		b.WriteByte(':')
		appendJSON(b, &t.Fields[v.Tag].Type, v.Value)
		b.WriteByte('}')
	default:
		s := Text(t, v)
		if t.Kind == HugeInt || t.Kind == UHugeInt {
			b.WriteString(s)
		} else {
			quote(s)
		}
	}
}

// MarshalJSON gives {"columns":[{"name","type"}],"rows":[[...]]}, rows as arrays in column order, since SQL allows two
// columns of one name.
func (r *Result) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	columns := make([]Column, len(r.Columns))
	for i, c := range r.Columns {
		columns[i] = Column{Name: c.Name, Type: c.Type.String()}
	}
	head, err := json.Marshal(columns)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, `{"columns":%s,"rows":[`, head)
	for n, row := range r.Rows {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('[')
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			appendJSON(&b, &r.Columns[i].Type, v)
		}
		b.WriteByte(']')
	}
	b.WriteString("]}")
	return b.Bytes(), nil
}

// WriteNDJSON writes one object a row.
func (r *Result) WriteNDJSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	whole := Type{Kind: Struct, Fields: r.Columns}
	var b bytes.Buffer
	for _, row := range r.Rows {
		b.Reset()
		appendJSON(&b, &whole, row)
		b.WriteByte('\n')
		if _, err := out.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return out.Flush()
}
