package driver

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
)

// openTestWAL opens dir's log with small segments and gives the payloads found. A payload "h7 …" holds block 7.
func openTestWAL(t *testing.T, dir string) (*wal, []string, error) {
	t.Helper()
	var found []string
	w, err := openWAL(osDisk{}, dir, 4096, false, func(p []byte) (consensus.Height, error) {
		found = append(found, string(p))
		return heightOf(p), nil
	})
	if err == nil {
		t.Cleanup(w.close)
	}
	return w, found, err
}

func heightOf(p []byte) (h consensus.Height) {
	_, _ = fmt.Sscanf(string(p), "h%d", &h)
	return h
}

func appendAll(t *testing.T, w *wal, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if err := w.append([]byte(p), heightOf([]byte(p))); err != nil {
			t.Fatal(err)
		}
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "wal-*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestLogGivesBackWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for round := range 4 {
		w, found, err := openTestWAL(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(found, want) {
			t.Fatalf("round %d: found %d records, want %d", round, len(found), len(want))
		}
		for i := range 20 {
			p := fmt.Sprintf("h%d ", round*20+i+1) + strings.Repeat("x", i*37%900)
			appendAll(t, w, p)
			want = append(want, p)
		}
		w.close()
	}
	w, found, err := openTestWAL(t, dir)
	if err != nil || !slices.Equal(found, want) {
		t.Fatalf("%d records, %v", len(found), err)
	}
	before := len(segments(t, dir))
	if err := w.release(80); err != nil { // nothing appended since: the newest safety data must stay
		t.Fatal(err)
	}
	if _, again, _ := openTestWAL(t, copyFolder(t, dir)); !slices.Equal(again, want) {
		t.Fatal("release dropped the last record")
	}
	appendAll(t, w, "h81")
	if err := w.release(60); err != nil {
		t.Fatal(err)
	}
	_, again, err := openTestWAL(t, copyFolder(t, dir))
	if err != nil || again[len(again)-1] != "h81" || len(segments(t, dir)) >= before {
		t.Fatalf("after release: %v", err)
	}
	for _, p := range want[60:] {
		if !slices.Contains(again, p) {
			t.Fatalf("block of %.5s was dropped though it is not committed", p)
		}
	}
}

// copyFolder copies what a crash at this moment would leave.
func copyFolder(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	copyInto(t, dir, to)
	return to
}

func copyInto(t testing.TB, dir, to string) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // a segment removed meanwhile
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, n.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTornTailIsIgnored(t *testing.T) {
	dir := t.TempDir()
	w, _, err := openTestWAL(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, w, "h1 first", "h2 second")
	end := int(w.at)
	appendAll(t, w, "h3 third and last")
	name := w.current.path
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := end; cut < int(w.at); cut++ {
		to := copyFolder(t, dir)
		torn := slices.Clone(whole)
		clear(torn[cut:w.at])
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		_, found, err := openTestWAL(t, to)
		if err != nil || len(found) < 2 || found[1] != "h2 second" {
			t.Fatalf("cut at %d: %q, %v", cut, found, err)
		}
		if len(found) == 3 && found[2] != "h3 third and last" {
			t.Fatalf("cut at %d: a torn record was taken: %q", cut, found[2])
		}
	}
}

func TestLostRecordInTheMiddleStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	w, _, err := openTestWAL(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, w, "h1 first", "h2 second", "h3 third")
	raw, err := os.ReadFile(w.current.path)
	if err != nil {
		t.Fatal(err)
	}
	to := copyFolder(t, dir)
	raw[bytes.Index(raw, []byte("second"))]++
	if err := os.WriteFile(filepath.Join(to, filepath.Base(w.current.path)), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openTestWAL(t, to); !errors.Is(err, errDamaged) {
		t.Fatalf("flipped bit: %v", err)
	}
	for i := range 10 {
		appendAll(t, w, fmt.Sprintf("h%d ", 4+i)+strings.Repeat("y", 1500))
	}
	to = copyFolder(t, dir)
	if err := os.Remove(segments(t, to)[1]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openTestWAL(t, to); !errors.Is(err, errDamaged) {
		t.Fatalf("segment missing: %v", err)
	}
}

func TestRecordLargerThanASegmentIsKept(t *testing.T) {
	dir := t.TempDir()
	w, _, err := openTestWAL(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	big := "h2 " + strings.Repeat("z", 9000)
	appendAll(t, w, "h1", big, "h3")
	_, found, err := openTestWAL(t, copyFolder(t, dir))
	if err != nil || !slices.Equal(found, []string{"h1", big, "h3"}) {
		t.Fatalf("%d records, %v", len(found), err)
	}
	if err := w.append(make([]byte, walMaxRecord+1), 0); err == nil {
		t.Fatal("record over the limit was taken")
	}
}

func TestBrokenLogTakesNothingMore(t *testing.T) {
	w, _, err := openTestWAL(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.f.Close() // the disk goes away
	if err := w.append([]byte("x"), 0); err == nil {
		t.Fatal("append to a closed file succeeded")
	}
	if err := w.append([]byte("x"), 0); err == nil || w.at != walHeaderSize {
		t.Fatal("a broken log took a record")
	}
	full := w.explain(os.NewSyscallError("write", errNoSpace))
	if !strings.Contains(full.Error(), "full") || !strings.Contains(full.Error(), w.dir) {
		t.Fatalf("message: %v", full)
	}
}

func TestFolderHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	key := func() sign.PublicKey {
		k, err := sign.Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k.Public()
	}
	a, b := key(), key()
	l, err := lockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFolder(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatalf("second node: %v", err)
	}
	l.release()
	if l, err = lockFolder(dir); err != nil {
		t.Fatal(err)
	}
	l.release()
	for _, torn := range []string{"", a.String()[:7], a.String()[:7] + "\x00\x00\x00"} {
		if torn != "" {
			if err := os.WriteFile(filepath.Join(dir, ownerFile), []byte(torn), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if ours, err := checkOwner(osDisk{}, dir, a); ours || err != nil {
			t.Fatalf("folder with %q: ours: %t, %v", torn, ours, err)
		}
		if err := claim(osDisk{}, dir, a); err != nil {
			t.Fatal(err)
		}
		if ours, err := checkOwner(osDisk{}, dir, a); !ours || err != nil {
			t.Fatalf("claimed: ours: %t, %v", ours, err)
		}
	}
	if _, err := checkOwner(osDisk{}, dir, b); err == nil || !strings.Contains(err.Error(), a.Short()) {
		t.Fatalf("other key: %v", err)
	}
}

func FuzzReadRecord(f *testing.F) {
	dir := f.TempDir()
	w, err := openWAL(osDisk{}, dir, 4096, false, func([]byte) (consensus.Height, error) { return 0, nil })
	if err != nil {
		f.Fatal(err)
	}
	defer w.close()
	if err := w.append([]byte("seed"), 1); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(w.current.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[walHeaderSize:96], raw[8:16], uint64(1))
	f.Fuzz(func(t *testing.T, b, salt []byte, seq uint64) {
		p, size, ok := readRecord(b, [8]byte(append(salt, make([]byte, 8)...)), seq)
		if ok && (len(p) == 0 || size > len(b) || size < len(p)) {
			t.Fatalf("payload %d, size %d of %d", len(p), size, len(b))
		}
	})
}

// TestLogInAFolderWhoseNameIsAPattern: a log that is not found again would be begun anew, or called lost.
func TestLogInAFolderWhoseNameIsAPattern(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*?")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, _, err := openTestWAL(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, w, "one")
	w.close()
	w, found, err := openTestWAL(t, dir)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d records, %v", len(found), err)
	}
	w.close()
}
