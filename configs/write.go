package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Text is the configuration as a file with a comment on every key. Parse of it gives c again.
func Text(c Config) []byte {
	var b strings.Builder
	t := reflect.TypeFor[Config]()
	v := reflect.ValueOf(c)
	b.WriteString("# Configuration of a Metanode peer. Every key may be left out, and every key can be overridden by an\n" +
		"# environment variable: BPI_ROLE for role, BPI_P2P_LISTEN_PORT for listen_port in [p2p].\n")
	for i := range t.NumField() {
		f := t.Field(i)
		b.WriteString("\n")
		if f.Type.Kind() != reflect.Struct {
			writeKey(&b, f, v.Field(i))
			continue
		}
		writeComment(&b, f.Tag.Get("doc"))
		fmt.Fprintf(&b, "[%s]\n", f.Tag.Get("toml"))
		for j := range f.Type.NumField() {
			writeKey(&b, f.Type.Field(j), v.Field(i).Field(j))
		}
	}
	return []byte(b.String())
}

// Write puts Text(c) in a new file at path, mode 0600, and fsyncs it. A file that is there already is not overwritten:
// the error is os.ErrExist.
func Write(path string, c Config) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.Write(Text(c))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write configuration %s: %w", path, err)
	}
	return nil
}

func writeKey(b *strings.Builder, f reflect.StructField, v reflect.Value) {
	writeComment(b, f.Tag.Get("doc"))
	fmt.Fprintf(b, "%s = %s\n", f.Tag.Get("toml"), literal(v))
}

func writeComment(b *strings.Builder, doc string) {
	line := "#"
	for word := range strings.FieldsSeq(doc) {
		if len(line)+1+len(word) > 110 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func literal(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return quote(durationText(x))
	case []string:
		parts := make([]string, len(x))
		for i, s := range x {
			parts[i] = quote(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return quote(x)
	case bool:
		return strconv.FormatBool(x)
	}
	return fmt.Sprint(v.Interface())
}

// durationText drops the zero units that time.Duration prints: 168h rather than 168h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
