package keyfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/sign"
)

func TestCreateThenLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "node.key")
	key, err := Create(path, Node, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, Node)
	if err != nil {
		t.Fatal(err)
	}
	if got.Public() != key.Public() || !bytes.Equal(got.Seed(), key.Seed()) {
		t.Error("loaded key is not the one created")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("folder holds %v, %v: want the key alone", left, err)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	key, err := Create(path, Client, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Client, rand.Reader); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: %v, want os.ErrExist", err)
	}
	if got, err := Load(path, Client); err != nil || got.Public() != key.Public() {
		t.Errorf("first key is gone: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := Create(good, Validator, rand.Reader); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte, mode fs.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(raw), "public: ", "public: 00", 1)
	flipped := []byte(string(raw))
	i := bytes.Index(flipped, []byte("seed: ")) + len("seed: ")
	flipped[i] = map[bool]byte{true: '1', false: '0'}[flipped[i] == '0']
	tests := []struct {
		path string
		role Role
		want error
		text string
	}{
		{good, Node, ErrRole, "it is a validator key"},
		{put("open", raw, 0o640), Validator, ErrMode, "chmod 600"},
		{put("world", raw, 0o604), Validator, ErrMode, "chmod 600"},
		{link, Validator, ErrMode, "symbolic link"},
		{dir, Validator, ErrMode, "no regular file"},
		{filepath.Join(dir, "none"), Validator, fs.ErrNotExist, "none"},
		{put("empty", nil, 0o600), Validator, ErrForm, ""},
		{put("long", bytes.Repeat([]byte("x"), 1<<20), 0o600), Validator, ErrForm, ""},
		{put("badpub", []byte(other), 0o600), Validator, ErrForm, "public key"},
		{put("flipped", flipped, 0o600), Validator, ErrForm, "restore it from a backup"},
		{put("trailing", append(append([]byte{}, raw...), '\n'), 0o600), Validator, ErrForm, ""},
	}
	for _, tt := range tests {
		_, err := Load(tt.path, tt.role)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: error %v, want %v with %q", filepath.Base(tt.path), err, tt.want, tt.text)
		}
	}
}

func TestErrorsNeverRepeatTheSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	key, err := Create(path, Client, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := string(Encode(Client, key))
	seed := text[strings.Index(text, "seed: ")+6:][:64]
	for _, broken := range []string{
		strings.Replace(text, seed, seed+"0", 1), strings.ToUpper(text), strings.Replace(text, "client", "king", 1),
		strings.Replace(text, "public: ", "public: x", 1),
	} {
		_, _, err := Decode([]byte(broken))
		if err == nil || strings.Contains(strings.ToLower(err.Error()), seed[:16]) {
			t.Errorf("error %v: want one without the seed", err)
		}
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "client.key")
	a, created, err := LoadOrCreate(path, Client, rand.Reader)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	b, created, err := LoadOrCreate(path, Client, rand.Reader)
	if err != nil || created || a.Public() != b.Public() {
		t.Fatalf("created %v, %v: want the first key again", created, err)
	}
	if _, _, err := LoadOrCreate(path, Node, rand.Reader); !errors.Is(err, ErrRole) {
		t.Errorf("error %v, want ErrRole", err)
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	key, err := Create(from, Operator, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := Backup(from, to); err != nil {
		t.Fatal(err)
	}
	if role, public, err := Inspect(to); err != nil || role != Operator || public != key.Public() {
		t.Errorf("backup is %s %s, %v", role, public, err)
	}
	if err := Backup(from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("backup over a file: %v, want os.ErrExist", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(Node, sign.FromSeed(make([]byte, 32))))
	f.Add([]byte(begin + "\nrole: node\npublic: \nseed: \n" + end + "\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		role, key, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrForm) {
				t.Fatalf("error %v is not ErrForm", err)
			}
			return
		}
		if !bytes.Equal(Encode(role, key), raw) {
			t.Fatal("a second spelling was accepted")
		}
	})
}
