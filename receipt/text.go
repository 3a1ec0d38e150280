package receipt

import (
	"strconv"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/digest"
)

// jsonText is JSON being written in the form that Statement.Payload documents.
type jsonText []byte

func (j *jsonText) raw(s string) *jsonText { *j = append(*j, s...); return j }

func (j *jsonText) comma(i int) *jsonText {
	if i > 0 {
		*j = append(*j, ',')
	}
	return j
}

func (j *jsonText) u64(n uint64) *jsonText {
	*j = append(*j, '"')
	*j = strconv.AppendUint(*j, n, 10)
	*j = append(*j, '"')
	return j
}

func (j *jsonText) u32(n uint32) *jsonText { *j = strconv.AppendUint(*j, uint64(n), 10); return j }

func (j *jsonText) i32(n int32) *jsonText { *j = strconv.AppendInt(*j, int64(n), 10); return j }

func (j *jsonText) hex(d digest.Digest) *jsonText { return j.raw(`"`).raw(d.String()).raw(`"`) }

func (j *jsonText) sha(d digest.Digest) *jsonText { return j.raw(`{"sha256":`).hex(d).raw(`}`) }

func (j *jsonText) strs(list []string) *jsonText {
	j.raw(`[`)
	for i, s := range list {
		j.comma(i).str(s)
	}
	return j.raw(`]`)
}

// str writes s; bytes that are not UTF-8 become U+FFFD each.
func (j *jsonText) str(s string) *jsonText {
	b := append(*j, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= 0x20 && r <= 0x7e:
			b = append(b, byte(r))
		case r < 0x10000:
			b = appendUnit(b, uint16(r))
		default:
			r -= 0x10000
			b = appendUnit(b, 0xd800+uint16(r>>10))
			b = appendUnit(b, 0xdc00+uint16(r&0x3ff))
		}
	}
	*j = append(b, '"')
	return j
}

func appendUnit(b []byte, u uint16) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[u>>12], digits[u>>8&15], digits[u>>4&15], digits[u&15])
}

// isText reports whether s is UTF-8 of at most limit bytes.
func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }
