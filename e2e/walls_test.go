package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// withoutNetNamespaces is a command for a program where there can be no network namespaces: in a user namespace of its own,
// a process may lower what the namespaces below it get. The program runs in a second one, as an ordinary user.
func withoutNetNamespaces(program string, args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", "echo 0 > /proc/sys/user/max_net_namespaces && " +
		`exec unshare --user --map-user=1000 --map-group=1000 "$0" "$@"`, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// TestMissingWall starts a peer where there can be no network namespaces. It says so, validates, and executes nothing,
// until its configuration names the wall that it is to do without.
func TestMissingWall(t *testing.T) {
	program := bin(t)
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skipf("no way to take a wall from the peer: %v", err)
	}
	t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
	dir := home(t)
	p := &peer{Name: "solo", Dir: dir, Socket: filepath.Join(dir, "api.sock")}
	n := &testnet{t: t, home: dir, peers: []*peer{p}}
	t.Cleanup(n.down)
	var said strings.Builder // read it when the process has ended
	begin := func(env ...string) api.Status {
		t.Helper()
		said.Reset()
		cmd := withoutNetNamespaces(program, "node", "start", "--config", "../configs/devnet.toml")
		cmd.Env = append(append(os.Environ(), "BPI_HOME="+dir), env...)
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Skipf("no user namespace for the peer: %v", err)
		}
		p.again = cmd
		n.ready(p)
		s, err := n.client(p).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	end := func() string {
		t.Helper()
		if err := p.again.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.again.Wait(); err != nil {
			t.Errorf("the end: %v", err)
		}
		p.again = nil
		return said.String()
	}

	s := begin()
	if slices.Contains(s.Roles, "executor") || !slices.Contains(s.Roles, "validator") {
		t.Errorf("without a wall the peer's roles are %v", s.Roles)
	}
	from := n.height(p)
	eventually(t, 20*time.Second, "going on with the chain", func() bool { return n.height(p) > from })
	n.refused(1, []string{"net namespace"}, "dataset", "add", "../examples/data/users.csv", "--name", "users")
	waits := strings.TrimSpace(n.must("analytics", "submit", "--detach", "--id-only", "--query", "SELECT 1"))
	eventually(t, 10*time.Second, "said to wait for somebody who executes", func() bool {
		return strings.Contains(n.must("job", "describe", waits), "0 nodes could serve")
	})
	if out := n.must("doctor"); !strings.Contains(out, "executes nothing") || !strings.Contains(out, "max_net_namespaces") {
		t.Errorf("doctor does not name the wall and how to get it:\n%s", out)
	}
	if out := end(); !strings.Contains(out, "executes nothing") || !strings.Contains(out, "net namespace") || !strings.Contains(out, "allow_missing_walls") {
		t.Errorf("the log does not name the wall and the way out:\n%s", out)
	}

	s = begin("BPI_CAGE_ALLOW_MISSING_WALLS=net namespace")
	if !slices.Contains(s.Roles, "executor") {
		t.Errorf("with the wall named, the peer's roles are %v", s.Roles)
	}
	if j := n.ended(p, waits, 30*time.Second); j.State != api.JobSealed {
		t.Errorf("the job that waited is %s: %s", j.State, j.Reason)
	}
	n.users()
	if out := n.must("analytics", "submit", "--format", "csv", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); !strings.Contains(out, "1000") {
		t.Errorf("with the wall named, the answer is %q", out)
	}
	if out := end(); !strings.Contains(out, "net namespace") {
		t.Errorf("the log does not warn of the missing wall:\n%s", out)
	}
}
