package root

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

type file struct {
	Entry
	text string
}

func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, f := range files {
		f.Size = uint64(len(f.text))
		if err := w.Add(f.Entry); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(b []byte) ([]file, error) {
	var list []file
	r := NewReader(bytes.NewReader(b))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return list, err
		}
		list = append(list, file{e, string(text)})
	}
}

var long = strings.Repeat("long-name/", 20) + "end"

func sample() []file {
	list := []file{
		{Entry{Path: "a", Kind: Folder, Mode: 0o755}, ""},
		{Entry{Path: "a-b", Kind: File, Mode: 0o644}, "between a folder and what it holds"},
		{Entry{Path: "a/block", Kind: File, Mode: 0o755}, strings.Repeat("x", block)},
		{Entry{Path: "a/empty", Kind: File, Mode: 0o600}, ""},
		{Entry{Path: "a/line\nfeed=1", Kind: Link, Mode: 0o777, To: "../../" + long + "\n7 x=y"}, ""},
		{Entry{Path: "bin", Kind: Link, Mode: 0o777, To: "/usr/bin"}, ""},
	}
	at := ""
	for name := range strings.SplitSeq(long, "/") {
		if at += name; name != "end" {
			list = append(list, file{Entry{Path: at, Kind: Folder, Mode: 0o755}, ""})
			at += "/"
		}
	}
	return append(list, file{Entry{Path: long, Kind: File, Mode: 0o644}, "deep"})
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	b := pack(t, sample()...)
	got, err := unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := pack(t, got...); !bytes.Equal(b, again) || len(got) != len(sample()) {
		t.Errorf("%d entries of %d came back, or others", len(got), len(sample()))
	}
}

func TestOtherTarsReadIt(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(pack(t, sample()...)))
	for _, want := range sample() {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSuffix(h.Name, "/") != want.Path || h.Linkname != want.To || h.Typeflag != byte(want.Kind) || uint32(h.Mode) != want.Mode || string(b) != want.text {
			t.Errorf("read %+v, %d bytes; want %+v", h, len(b), want.Entry)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

func TestLargeFileHasSizeRecord(t *testing.T) {
	e := Entry{Path: "large", Kind: File, Mode: 0o644, Size: maxOctal + 1}
	r := NewReader(bytes.NewReader(headers(&e)))
	if got, err := r.Next(); err != nil || got != e {
		t.Errorf("got %+v, %v", got, err)
	}
	h, err := tar.NewReader(bytes.NewReader(headers(&e))).Next()
	if err != nil || h.Size != maxOctal+1 {
		t.Errorf("archive/tar: %+v, %v", h, err)
	}
}

// TestRefused builds archives that Writer would not write.
func TestRefused(t *testing.T) {
	entry := func(path string, kind Kind, to string) []byte {
		e := Entry{Path: path, Kind: kind, Mode: 0o755, To: to}
		if kind == Link {
			e.Mode = 0o777
		}
		return headers(&e)
	}
	folder := entry("a", Folder, "")
	end := make([]byte, 2*block)
	with := func(b []byte, f func(b []byte)) []byte { // with its sum set right again
		b = bytes.Clone(b)
		f(b)
		copy(b[148:156], "        ")
		sum := 0
		for _, c := range b[:block] {
			sum += int(c)
		}
		copy(b[148:], strings.Repeat("0", 6))
		for i := 5; sum > 0; i-- {
			b[148+i] = byte('0' + sum%8)
			sum /= 8
		}
		copy(b[154:], "\x00 ")
		return b
	}
	dirty := append(header("f", '0', 0o644, 1, ""), append([]byte("x"), make([]byte, block-1)...)...)
	dirty[block+200] = 1
	behind := headers(&Entry{Path: strings.Repeat("long/", 30) + "name", Kind: Folder, Mode: 0o755})
	behind[2*block-1] = 1 // the last byte of the block that the PAX records begin
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"absolute":             {entry("/etc", Folder, ""), "clean relative path"},
		"dotted":               {entry("../x", Folder, ""), "clean relative path"},
		"dotted inside":        {entry("a/../../x", Folder, ""), "clean relative path"},
		"second slash":         {entry("a//b", Folder, ""), "clean relative path"},
		"dot":                  {entry("./a", Folder, ""), "clean relative path"},
		"long name":            {entry(strings.Repeat("n", 256), Folder, ""), "clean relative path"},
		"twice":                {append(bytes.Clone(folder), folder...), "there twice"},
		"unsorted":             {append(entry("b", Folder, ""), folder...), "out of order"},
		"below a link":         {append(entry("a", Link, "/etc"), entry("a/passwd", Folder, "")...), "no folder of this archive"},
		"link below a link":    {append(entry("a", Link, ".."), entry("a/b", Link, "/etc")...), "no folder of this archive"},
		"below a file":         {append(entry("a", File, ""), entry("a/b", File, "")...), "no folder of this archive"},
		"below nothing":        {entry("a/b", File, ""), "no folder of this archive"},
		"hard link":            {with(folder, func(b []byte) { b[156] = '1'; b[157] = 'x' }), "neither file"},
		"device":               {with(folder, func(b []byte) { b[156] = '3' }), "neither file"},
		"FIFO":                 {with(folder, func(b []byte) { b[156] = '6' }), "neither file"},
		"global header":        {with(folder, func(b []byte) { b[156] = 'g' }), "neither file"},
		"setuid":               {with(folder, func(b []byte) { copy(b[100:], "0004755") }), "mode"},
		"mode unreadable":      {with(folder, func(b []byte) { copy(b[100:], "0000333") }), "mode"},
		"owner":                {with(folder, func(b []byte) { copy(b[108:], "0001750") }), "another way"},
		"time":                 {with(folder, func(b []byte) { copy(b[136:], "00000000001") }), "another way"},
		"owner's name":         {with(folder, func(b []byte) { copy(b[265:], "root") }), "another way"},
		"prefix":               {with(folder, func(b []byte) { copy(b[345:], "etc") }), "another way"},
		"no slash":             {with(folder, func(b []byte) { b[1] = 0 }), "another way"},
		"wrong sum":            {func() []byte { b := bytes.Clone(folder); b[150]++; return b }(), "another way"},
		"base 256":             {with(folder, func(b []byte) { b[124] = 0x80 }), "octal"},
		"folder with bytes":    {header("a/", '5', 0o755, 1, ""), "only in a file"},
		"huge":                 {entrySize(MaxBytes + 1), "bytes"},
		"link to nothing":      {entry("l", Link, ""), "points to"},
		"text not UTF-8":       {entry("\xff", Folder, ""), "clean relative path"},
		"PAX without need":     {append(append(header(paxName, 'x', 0o644, 11, ""), pad([]byte(record("path", "a/")))...), folder...), "another way"},
		"PAX of another kind":  {append(append(header(paxName, 'x', 0o644, 11, ""), pad([]byte(record("mtime", "1")))...), folder...), "none such"},
		"PAX too long":         {header(paxName, 'x', 0o644, 1<<30, ""), "records of"},
		"PAX bad length":       {append(header(paxName, 'x', 0o644, 5, ""), pad([]byte("99 a="))...), ""},
		"bytes behind a file":  {dirty, "between a file's end"},
		"bytes behind records": {behind, "between PAX records"},
		"cut in a header":      {folder[:100], "cut off"},
		"cut in a file":        {header("f", '0', 0o644, 5, ""), "EOF"},
		"no end":               {folder, "cut off"},
		"one block at the end": {append(bytes.Clone(folder), make([]byte, block)...), "cut off"},
		"bytes after the end":  {append(append(bytes.Clone(folder), end...), 0), "after the archive's end"},
		"end is no end":        {append(append(bytes.Clone(folder), make([]byte, block)...), folder...), "want two"},
	} {
		b := c.archive
		if !strings.Contains(name, "cut") && !strings.Contains(name, "end") {
			b = append(bytes.Clone(b), end...)
		}
		if _, err := unpack(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v; want %q", name, err, c.want)
		}
	}
}

func entrySize(n uint64) []byte {
	return headers(&Entry{Path: "f", Kind: File, Mode: 0o644, Size: n})
}

func TestWriterRefusesFileOfAnotherSize(t *testing.T) {
	for _, text := range []string{"longer than said", "shor"} {
		w := NewWriter(io.Discard)
		if err := w.Add(Entry{Path: "f", Kind: File, Mode: 0o644, Size: 5}); err != nil {
			t.Fatal(err)
		}
		_, err := io.WriteString(w, text)
		if err = errors.Join(err, w.Close()); err == nil {
			t.Errorf("a file of 5 bytes was written as %q", text)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(pack(f, sample()...))
	f.Add(pack(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := unpack(b)
		if err != nil {
			return
		}
		if again := pack(t, list...); !bytes.Equal(again, b) {
			t.Fatal("an archive was read that is written another way")
		}
	})
}
