// Package keyfile keeps one Ed25519 key in one small text file that only its owner may read. A file says which role its
// key has, and a key is never loaded for another: a node key that signs a vote, or a validator key that signs a job,
// is a mistake in configuration and is refused before it signs anything.
package keyfile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/metanode/metanode/internal/sign"
)

// Role is what a key is for.
type Role string

// The four roles of RECEIPTS: the node key is the peer's identity and signs as executor, the validator key signs votes,
// the operator key vouches for its nodes, the client key signs commands.
const (
	Node      Role = "node"
	Validator Role = "validator"
	Operator  Role = "operator"
	Client    Role = "client"
)

// Roles lists them all.
func Roles() []Role { return []Role{Node, Validator, Operator, Client} }

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("key role %.40q: want node, validator, operator or client", s)
}

// FileName is the name that a key of the role has in a keys folder: "node.key".
func (r Role) FileName() string { return string(r) + ".key" }

// Errors that a caller may test for.
var (
	ErrRole = errors.New("key has another role")
	ErrMode = errors.New("key file can be read or changed by others")
	ErrForm = errors.New("not a key file")
)

const (
	begin = "-----BEGIN METANODE KEY-----"
	end   = "-----END METANODE KEY-----"
	// maxBytes is far above the size of any key file.
	maxBytes = 4096
)

// Create draws a key from random, which is crypto/rand.Reader outside of tests, and writes it to a new file at path with
// mode 0600. File and folder are on disk when it returns. An existing file is never touched: the error is os.ErrExist.
func Create(path string, role Role, random io.Reader) (sign.PrivateKey, error) {
	key, err := sign.Generate(random)
	if err != nil {
		return sign.PrivateKey{}, fmt.Errorf("create %s key: %w", role, err)
	}
	if err := Save(path, role, key); err != nil {
		return sign.PrivateKey{}, err
	}
	return key, nil
}

// Save writes key to a new file at path as Create does.
func Save(path string, role Role, key sign.PrivateKey) error {
	if _, err := ParseRole(string(role)); err != nil {
		return err
	}
	if key.IsZero() {
		return fmt.Errorf("save %s key %s: there is no key", role, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save %s key: %w", role, err)
	}
	return writeNew(path, Encode(role, key))
}

// LoadOrCreate loads the key at path, or creates it if there is no file. created says which.
func LoadOrCreate(path string, role Role, random io.Reader) (key sign.PrivateKey, created bool, err error) {
	key, err = Load(path, role)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	key, err = Create(path, role, random)
	if errors.Is(err, fs.ErrExist) { // another process was first
		key, err = Load(path, role)
		return key, false, err
	}
	return key, err == nil, err
}

// Load reads the key at path and refuses a file of another role (ErrRole), one that group or others may read or write,
// that belongs to another user, or that is no regular file or reached by a symbolic link (ErrMode), and one whose public
// key is not its seed's (ErrForm). A missing file is os.ErrNotExist.
func Load(path string, role Role) (sign.PrivateKey, error) {
	raw, err := read(path)
	if err != nil {
		return sign.PrivateKey{}, fmt.Errorf("load %s key: %w", role, err)
	}
	have, key, err := Decode(raw)
	if err != nil {
		return sign.PrivateKey{}, fmt.Errorf("load %s key %s: %w", role, path, err)
	}
	if have != role {
		return sign.PrivateKey{}, fmt.Errorf("load %s key %s: %w: it is a %s key; make one with: bpi key new %s", role, path, ErrRole, have, role)
	}
	return key, nil
}

// Inspect reads the key at path whatever its role.
func Inspect(path string) (Role, sign.PublicKey, error) {
	raw, err := read(path)
	if err != nil {
		return "", sign.PublicKey{}, fmt.Errorf("read key: %w", err)
	}
	role, key, err := Decode(raw)
	if err != nil {
		return "", sign.PublicKey{}, fmt.Errorf("read key %s: %w", path, err)
	}
	return role, key.Public(), nil
}

// Backup copies the key at from to a new file at to, after checking that it can be read back. Both end up on disk with
// mode 0600.
func Backup(from, to string) error {
	raw, err := read(from)
	if err != nil {
		return fmt.Errorf("back up key: %w", err)
	}
	if _, _, err := Decode(raw); err != nil {
		return fmt.Errorf("back up key %s: %w", from, err)
	}
	return writeNew(to, raw)
}

// Encode is the text of a key file.
func Encode(role Role, key sign.PrivateKey) []byte {
	return fmt.Appendf(nil, "%s\nrole: %s\npublic: %s\nseed: %s\n%s\n", begin, role, key.Public(), hex.EncodeToString(key.Seed()), end)
}

// Decode reads the text of a key file. There is one spelling: the one Encode writes. The only error is ErrForm.
func Decode(raw []byte) (Role, sign.PrivateKey, error) {
	if len(raw) > maxBytes {
		return "", sign.PrivateKey{}, fmt.Errorf("%w: %d bytes long", ErrForm, len(raw))
	}
	lines := strings.Split(string(raw), "\n")
	if len(lines) != 6 || lines[0] != begin || lines[4] != end || lines[5] != "" {
		return "", sign.PrivateKey{}, fmt.Errorf("%w: want the five lines from %q to %q", ErrForm, begin, end)
	}
	var field [3]string
	for i, name := range []string{"role: ", "public: ", "seed: "} {
		v, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return "", sign.PrivateKey{}, fmt.Errorf("%w: line %d does not begin with %q", ErrForm, i+2, name)
		}
		field[i] = v
	}
	role, err := ParseRole(field[0])
	if err != nil {
		return "", sign.PrivateKey{}, fmt.Errorf("%w: %v", ErrForm, err)
	}
	var public sign.PublicKey
	if err := public.UnmarshalText([]byte(field[1])); err != nil {
		return "", sign.PrivateKey{}, fmt.Errorf("%w: %v", ErrForm, err)
	}
	seed, err := hex.DecodeString(field[2])
	if err != nil || len(seed) != 32 || hex.EncodeToString(seed) != field[2] {
		// The seed itself is never repeated in an error.
		return "", sign.PrivateKey{}, fmt.Errorf("%w: the seed is not 64 lower-case hexadecimal digits", ErrForm)
	}
	key := sign.FromSeed(seed)
	if key.Public() != public {
		return "", sign.PrivateKey{}, fmt.Errorf("%w: the public key is not the seed's; the file is damaged, restore it from a backup", ErrForm)
	}
	return role, key, nil
}

// read opens path without following a symbolic link at its end, and checks the file that it opened rather than the name.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: %w: it is a symbolic link; name the file itself", path, ErrMode)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is no regular file", path, ErrMode)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w (mode %04o); run: chmod 600 %s", path, ErrMode, perm, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && os.Geteuid() != 0 {
		return nil, fmt.Errorf("%s: %w: it belongs to user %d", path, ErrMode, st.Uid)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

// writeNew leaves either the whole file on disk, or none: a name that a crash leaves on half a key would block its own
// replacement. The bytes go to a temporary file that is linked to the name, which fails if the name is taken.
func writeNew(path string, raw []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write key file %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
