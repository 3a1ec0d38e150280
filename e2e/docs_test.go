package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell runs lines in one bash, in a folder that looks like the repository's, with the program in the PATH. Every line is
// shown before it runs, and the first that fails ends the test. What it started in the background ends with it.
func shell(t *testing.T, lines string) string {
	t.Helper()
	program, err := filepath.Abs(bin(t))
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := home(t)
	for _, f := range []string{"bin", "work", "scratch", "home"} {
		if err := os.Mkdir(filepath.Join(dir, f), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"bin/bpi": program, "work/examples": filepath.Join(root, "examples"), "work/configs": filepath.Join(root, "configs"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	const head = `set -euo pipefail
ended() { set +ex; jobs -p | xargs -r kill; wait; BPI_HOME=$SCRATCH/../home bpi devnet down; }
trap ended EXIT
set -x
`
	// The devnet takes a gateway port from the system, since 3000 may be somebody's.
	const after = "\n{ GATEWAY=$(bpi --json devnet status | grep -o '\"gateway\": \"[^\"]*\"' | sed -n 1p | cut -d'\"' -f4); } 2> /dev/null\n"
	var script strings.Builder
	script.WriteString(head)
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(line, "\n")
		up := strings.HasPrefix(line, "bpi devnet up")
		if up {
			line, _, _ = strings.Cut(line, "#")
			line = strings.ReplaceAll(line, "--detach", "") + " --detach --gateway-port 0"
		}
		line = strings.NewReplacer("'http://localhost:3000/", "http://$GATEWAY'/", "localhost:3000", "$GATEWAY").Replace(line)
		script.WriteString(line + "\n")
		if up {
			script.WriteString(after)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = filepath.Join(dir, "work")
	cmd.WaitDelay = 10 * time.Second
	// The peers that the lines start end with them, however the lines end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	defer func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nobody is left where all went well
		}
	}()
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "BPI_HOME="+filepath.Join(dir, "home"),
		"SCRATCH="+filepath.Join(dir, "scratch"), "BPI_API=", "BPI_PEER=", "BPI_GATEWAY_LISTEN=127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := string(out)
		t.Fatalf("%v\n%s", err, text[max(0, len(text)-6000):])
	}
	return string(out)
}

// blocks are the fenced blocks of a document whose first line begins with open.
func blocks(t *testing.T, path, open string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	inside, wanted := false, false
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "```") {
			if inside = !inside; inside {
				if wanted = strings.TrimSpace(line) == open; wanted {
					list = append(list, "")
				}
			}
			continue
		}
		if inside && wanted {
			list[len(list)-1] += line
		}
	}
	return list
}

// TestGuide does what the user's guide shows.
func TestGuide(t *testing.T) {
	up(t, 1) // skips where there is no cage
	list := blocks(t, "../docs/guide.md", "```sh run")
	if len(list) < 9 {
		t.Fatalf("the guide has %d blocks to run", len(list))
	}
	out := shell(t, strings.Join(list, "\n"))
	for _, want := range []string{"the receipt is valid: job ", "the audit file is valid: ", "of 4 validators", "matched", "COULD RUN IT", `"rows":[[`, "4 answers", "Jan  1 00:00:00 UTC 2026", "1001 ", "the same tree"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// TestOperations changes the validators as the operator's page shows.
func TestOperations(t *testing.T) {
	up(t, 1)
	list := blocks(t, "../docs/operations.md", "```sh run")
	if len(list) < 4 {
		t.Fatalf("the page has %d blocks to run", len(list))
	}
	out := shell(t, strings.Join(list, "\n"))
	for _, want := range []string{"+emil (weight 1)", "1 of 4", "a quorum stands behind it: epoch 0 is closed", "epoch 1: 5 validators of weight 5; 4 decides", "epoch 1 is closed"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// TestServicesPage finds services and sends to them as their page shows.
func TestServicesPage(t *testing.T) {
	up(t, 1)
	list := blocks(t, "../docs/services.md", "```sh run")
	if len(list) < 2 {
		t.Fatalf("the page has %d blocks to run", len(list))
	}
	out := shell(t, strings.Join(list, "\n"))
	for _, want := range []string{"analytics/1", "users@1", "HTTP/1.1 200 OK", `"sealed"`, "answered by node"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// TestReadme does the lines that the README gives to be typed by hand, with the words in capitals filled in.
func TestReadme(t *testing.T) {
	up(t, 1)
	var hand string
	for _, b := range blocks(t, "../README.md", "```") {
		if strings.Contains(b, "bpi devnet up") {
			hand = b
		}
	}
	lines := strings.Split(strings.TrimSpace(hand), "\n")
	var script []string
	started := false
	for _, l := range lines {
		switch {
		case strings.Contains(l, "/tcp/PORT/p2p/ID"):
			script = append(script, `PEER=$(bpi --json devnet status | grep -o '"address": "[^"]*"' | tail -1 | cut -d'"' -f4)`,
				strings.Replace(l, "/ip4/127.0.0.1/tcp/PORT/p2p/ID", `"$PEER"`, 1))
		case strings.Contains(l, " ROOTDIR"):
			script = append(script, `for f in /usr/bin/sort $(ldd /usr/bin/sort | grep -o '/[^ ]*'); do install -D "$f" "$SCRATCH/root$f"; done`,
				strings.Replace(l, " ROOTDIR", ` "$SCRATCH/root"`, 1))
		case strings.Contains(l, " JOB"):
			script = append(script, "JOB=$(bpi job list --state sealed --id-only --limit 1)", strings.ReplaceAll(l, " JOB", ` "$JOB"`))
		case strings.HasPrefix(l, "bpi node start"):
			l, _, _ = strings.Cut(l, "#")
			script = append(script, l+" &", "until bpi node status | grep -q '^state *ready'; do sleep 0.1; done", "bpi node status", "kill $!", "wait $! || [ $? = 143 ]")
			started = true
		default:
			script = append(script, l)
		}
	}
	if len(lines) < 9 || !started {
		t.Fatalf("the README's lines are not found: %q", lines)
	}
	out := shell(t, strings.Join(script, "\n"))
	for _, want := range []string{"        1000\n", "\"rows\":[[1000]]", "policy enforced  sealed", "the receipt is valid", "the audit file is valid", "state      ready"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// TestMetaAnalytics runs the example's six stages.
func TestMetaAnalytics(t *testing.T) {
	up(t, 1)
	out := shell(t, "examples/metaanalytics/run.sh")
	if !strings.Contains(out, "metaanalytics: all stages done") {
		t.Errorf("it did not come to its end:\n%s", out)
	}
}
