package analytics

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Text gives a value as people write it. NULL is "".
func Text(t *Type, v Value) string {
	var b strings.Builder
	writeText(&b, t, v, false)
	return b.String()
}

func writeText(b *strings.Builder, t *Type, v Value, nested bool) {
	if v == nil {
		if nested {
			b.WriteString("NULL")
		}
		return
	}
	switch v := v.(type) {
	case string:
		b.WriteString(v)
	case []byte:
		b.WriteString(hex.EncodeToString(v))
	case DecimalValue:
		b.WriteString(decimalText(v, t.Scale))
	case DateValue:
		b.WriteString(dateText(v))
	case TimeValue:
		b.WriteString(timeText(t.Kind, v))
	case TimestampValue:
		b.WriteString(timestampText(t.Kind, v))
	case IntervalValue:
		b.WriteString(intervalText(v))
	case UUIDValue:
		fmt.Fprintf(b, "%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:])
	case float32:
		b.WriteString(floatText(float64(v), 32))
	case float64:
		b.WriteString(floatText(v, 64))
	case []Value:
		open, end := "[", "]"
		if t.Kind == Struct {
			open, end = "{", "}"
		}
		b.WriteString(open)
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			f := &t.Fields[0]
			if t.Kind == Struct {
				f = &t.Fields[i]
				b.WriteString(f.Name + ": ")
			}
			writeText(b, &f.Type, e, true)
		}
		b.WriteString(end)
	case []MapEntry:
		b.WriteString("{")
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeText(b, &t.Fields[0].Type, e.Key, true)
			b.WriteString("=")
			writeText(b, &t.Fields[1].Type, e.Value, true)
		}
		b.WriteString("}")
	case UnionValue:
		writeText(b, &t.Fields[v.Tag].Type, v.Value, nested)
	default:
		fmt.Fprint(b, v) // bool, integers, *big.Int
	}
}

func floatText(f float64, bits int) string {
	switch {
	case f != f:
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, bits), "+")
	case f != 0 && (math.Abs(f) < 1e-6 || math.Abs(f) >= 1e21):
		return strconv.FormatFloat(f, 'g', -1, bits)
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}

func decimalText(v DecimalValue, scale uint8) string {
	s := v.Unscaled.String()
	if scale == 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for len(s) <= int(scale) {
		s = "0" + s
	}
	return sign + s[:len(s)-int(scale)] + "." + s[len(s)-int(scale):]
}

func infinity[T int32 | int64](v, top T) string {
	switch v {
	case top:
		return "infinity"
	case -top:
		return "-infinity"
	}
	return ""
}

func dateText(v DateValue) string {
	if s := infinity(int32(v), math.MaxInt32); s != "" {
		return s
	}
	return formatDate(time.Unix(int64(v)*86400, 0).UTC())
}

// formatDate writes years before 1 as people do: year 0 is 1 BC.
func formatDate(t time.Time) string {
	if y := t.Year(); y < 1 {
		return fmt.Sprintf("%04d-%02d-%02d (BC)", 1-y, t.Month(), t.Day())
	}
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}

// fraction writes ".5" for 500 of 1,000, and nothing for 0.
func fraction(v, unit int64) string {
	if v == 0 {
		return ""
	}
	return "." + strings.TrimRight(strconv.FormatInt(unit+v, 10)[1:], "0")
}

func timeText(k Kind, v TimeValue) string {
	unit := int64(1e6)
	if k == TimeNS {
		unit = 1e9
	}
	s := v.Ticks / unit
	out := fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60) + fraction(v.Ticks%unit, unit)
	if k == TimeTZ {
		sign, off := '+', v.Offset
		if off < 0 {
			sign, off = '-', -off
		}
		out += fmt.Sprintf("%c%02d", sign, off/3600)
		if off%3600 != 0 {
			out += fmt.Sprintf(":%02d", off/60%60)
		}
	}
	return out
}

func timestampText(k Kind, v TimestampValue) string {
	if s := infinity(int64(v), math.MaxInt64); s != "" {
		return s
	}
	unit := map[Kind]int64{TimestampS: 1, TimestampMS: 1e3, TimestampNS: 1e9}[k]
	if unit == 0 {
		unit = 1e6
	}
	s, f := int64(v)/unit, int64(v)%unit
	if f < 0 {
		s, f = s-1, f+unit
	}
	t := time.Unix(s, 0).UTC()
	out := formatDate(t) + t.Format(" 15:04:05") + fraction(f, unit)
	if k == TimestampTZ {
		out += "+00"
	}
	return out
}

func intervalText(v IntervalValue) string {
	var parts []string
	add := func(n int64, unit string) {
		if n == 1 || n == -1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		} else if n != 0 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit))
		}
	}
	add(int64(v.Months/12), "year")
	add(int64(v.Months%12), "month")
	add(int64(v.Days), "day")
	if us := v.Micros; us != 0 || len(parts) == 0 {
		sign, u := "", uint64(us)
		if us < 0 {
			sign, u = "-", -u
		}
		s := u / 1e6
		parts = append(parts, fmt.Sprintf("%s%02d:%02d:%02d%s", sign, s/3600, s/60%60, s%60, fraction(int64(u%1e6), 1e6)))
	}
	return strings.Join(parts, " ")
}

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

// WriteCSV writes a header and the rows (RFC 4180, with LF). NULL is an empty field.
func (r *Result) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	line := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		line[i] = c.Name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for i, v := range row {
			line[i] = Text(&r.Columns[i].Type, v)
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// maxCell bounds the width of a cell in a table for people.
const maxCell = 60

// WriteTable writes an aligned table for people: control characters are made visible, long values are cut, numbers
// stand right, NULL is spelt out. At most maxRows rows (0: all), and a line that says how many there are.
func (r *Result) WriteTable(w io.Writer, maxRows int) error {
	shown := r.Rows
	if maxRows > 0 && len(shown) > maxRows {
		shown = shown[:maxRows]
	}
	widths := make([]int, len(r.Columns))
	cells := make([][]string, 0, len(shown)+1)
	head := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		head[i] = cellText(c.Name)
	}
	cells = append(cells, head)
	for _, row := range shown {
		line := make([]string, len(row))
		for i, v := range row {
			line[i] = "NULL"
			if v != nil {
				line[i] = cellText(Text(&r.Columns[i].Type, v))
			}
		}
		cells = append(cells, line)
	}
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	out := bufio.NewWriter(w)
	for n, line := range cells {
		for i, c := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				out.WriteString("  ")
			}
			if isNumber(r.Columns[i].Type.Kind) {
				out.WriteString(pad + c)
			} else if i < len(line)-1 {
				out.WriteString(c + pad)
			} else {
				out.WriteString(c)
			}
		}
		out.WriteByte('\n')
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					out.WriteString("  ")
				}
				out.WriteString(strings.Repeat("-", width))
			}
			out.WriteByte('\n')
		}
	}
	unit := "rows"
	if len(r.Rows) == 1 {
		unit = "row"
	}
	if len(shown) < len(r.Rows) {
		fmt.Fprintf(out, "(%d %s, %d shown)\n", len(r.Rows), unit, len(shown))
	} else {
		fmt.Fprintf(out, "(%d %s)\n", len(r.Rows), unit)
	}
	return out.Flush()
}

func isNumber(k Kind) bool { return k >= TinyInt && k <= Decimal }

// cellText keeps a value to one line and free of what a terminal would obey.
func cellText(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n == maxCell {
			b.WriteString("…")
			break
		}
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			b.WriteString("·")
		} else {
			b.WriteRune(c)
		}
		n++
	}
	return b.String()
}
