package analytics

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
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
