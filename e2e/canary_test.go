package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// canaries are what is outside of a cage and must be as it was, whatever was tried in it: a file, a process, sockets that
// nobody connects to, shared memory, the machine's mounts and settings, and this process's children.
type canaries struct {
	dir, file, socket, abstract string
	mtime                       time.Time
	process                     *exec.Cmd
	port                        int
	shm                         int // key
	calls                       chan string
	before                      map[string]string
}

const canaryText = "this is the canary\n"

// place puts the canaries out.
func place(t *testing.T) *canaries {
	t.Helper()
	c := &canaries{dir: t.TempDir(), calls: make(chan string, 10), shm: 0x63616e00 + os.Getpid()%256}
	c.file = filepath.Join(c.dir, "canary")
	// Open to every user: it is not its mode that must protect it.
	openToAll(t, c.dir)
	must(t, os.WriteFile(c.file, []byte(canaryText), 0o666))
	must(t, os.Chmod(c.file, 0o666))
	st, err := os.Stat(c.file)
	must(t, err)
	c.mtime = st.ModTime()

	c.process = exec.Command("cat")
	_, err = c.process.StdinPipe() // never closed: it waits until it is killed
	must(t, err)
	must(t, c.process.Start())
	t.Cleanup(func() {
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
	})
	c.socket = filepath.Join(c.dir, "s")
	c.abstract = fmt.Sprintf("canary-%d", os.Getpid())
	c.port = c.listen(t, "tcp", "127.0.0.1:0").(*net.TCPAddr).Port
	c.listen(t, "unix", c.socket)
	must(t, os.Chmod(c.socket, 0o777))
	c.listen(t, "unix", "@"+c.abstract)
	id, err := unix.SysvShmGet(c.shm, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o666)
	must(t, err)
	t.Cleanup(func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	c.before = c.machine(t)
	return c
}

// listen notes every connection that is made.
func (c *canaries) listen(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case c.calls <- network + " " + address:
			default:
			}
			conn.Close()
		}
	}()
	return l.Addr()
}

// env tells the attempts where the canaries are, sorted as a spec wants it.
func (c *canaries) env(more ...string) []string {
	env := append([]string{
		"CANARY_FILE=" + c.file, "CANARY_DIR=" + c.dir, "CANARY_SOCKET=" + c.socket, "CANARY_ABSTRACT=" + c.abstract,
		"CANARY_PID=" + strconv.Itoa(c.process.Process.Pid), "CANARY_NODE=" + strconv.Itoa(os.Getpid()),
		"CANARY_PORT=" + strconv.Itoa(c.port), "CANARY_SHM=" + strconv.Itoa(c.shm),
	}, more...)
	sort.Strings(env)
	return env
}

// machine is what of the machine must stay.
func (c *canaries) machine(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, p := range []string{"/proc/self/mountinfo", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/core_pattern", "/proc/sysvipc/shm",
		"/proc/sysvipc/sem", "/proc/sysvipc/msg", "/proc/swaps", "/proc/modules", "/proc/self/oom_score_adj", "/proc/sys/net/ipv4/ip_forward"} {
		b, err := os.ReadFile(p)
		m[p] = fmt.Sprint(string(b), err)
	}
	m["/proc/sysvipc/shm"] = strconv.Itoa(strings.Count(m["/proc/sysvipc/shm"], "\n"))
	var lim unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	m["limits"] = fmt.Sprint(lim)
	return m
}

// check fails the test if a canary has come to harm.
func (c *canaries) check(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(c.file)
	st, serr := os.Stat(c.file)
	if err != nil || serr != nil || string(b) != canaryText || !st.ModTime().Equal(c.mtime) {
		t.Errorf("the file outside holds %q, of %v: %v", b, st, err)
	}
	if names, err := os.ReadDir(c.dir); err != nil || len(names) != 2 {
		t.Errorf("beside the file outside there are now %v, %v", names, err)
	}
	if err := c.process.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the process outside: %v", err)
	}
	select {
	case call := <-c.calls:
		t.Errorf("somebody connected to %s", call)
	default:
	}
	for what, now := range c.machine(t) {
		if was := c.before[what]; now != was {
			t.Errorf("%s was\n%s\nand is\n%s", what, was, now)
		}
	}
	if kids := children(t); len(kids) != 1 || kids[0] != c.process.Process.Pid {
		t.Errorf("processes below this one: %v; want only %d", kids, c.process.Process.Pid)
	}
}

// children are the processes below this one, at any depth.
func children(t *testing.T) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	parent := map[int]int{}
	for _, p := range stats {
		f, err := os.Open(p)
		if err != nil {
			continue // has ended
		}
		b, _ := io.ReadAll(f)
		f.Close()
		_, rest, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			id, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			parent[id], _ = strconv.Atoi(fields[1])
		}
	}
	var kids []int
	for id := range parent {
		for up := parent[id]; up > 1; up = parent[up] {
			if up == os.Getpid() {
				kids = append(kids, id)
				break
			}
		}
	}
	sort.Ints(kids)
	return kids
}

// openToAll lets every user into a folder that t.TempDir made, in another that it made.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Chmod(filepath.Dir(dir), 0o777))
	must(t, os.Chmod(dir, 0o777))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
