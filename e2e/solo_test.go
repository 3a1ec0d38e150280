package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// solo is one peer started by hand with the shipped configuration: a chain of one.
type solo struct {
	*testnet
	p   *peer
	out *bytes.Buffer // what the process said; read it when the process has ended
}

// newSolo starts a peer in a folder.
func newSolo(t *testing.T, dir string) *solo {
	t.Helper()
	bin(t)
	t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
	p := &peer{Name: "solo", Dir: dir, Socket: filepath.Join(dir, "api.sock")}
	s := &solo{testnet: &testnet{t: t, home: dir, peers: []*peer{p}}, p: p}
	t.Cleanup(s.down)
	s.begin()
	return s
}

// begin starts the peer and waits until it does its work.
func (s *solo) begin() {
	s.t.Helper()
	cmd := s.command()
	s.out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.p.again = cmd
	eventually(s.t, 30*time.Second, "ready", func() bool {
		st, err := s.client(s.p).Status(s.t.Context())
		return err == nil && st.Ready
	})
}

func (s *solo) command() *exec.Cmd {
	cmd := exec.Command(bin(s.t), "node", "start", "--config", "../configs/devnet.toml")
	cmd.Env = append(os.Environ(), "BPI_HOME="+s.home)
	return cmd
}

// end sends a signal and waits for the process.
func (s *solo) end(sig syscall.Signal) error {
	s.t.Helper()
	if err := s.p.again.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	err := s.p.again.Wait()
	s.p.again = nil
	return err
}

// promise submits a job, and gives its id if the peer took it.
func (s *solo) promise(i int) (string, result) {
	s.t.Helper()
	r := s.run("analytics", "submit", "--fresh", "--detach", "--id-only", "--replicas", "1", "--quorum", "1",
		"--dataset", "users", "--query", fmt.Sprintf("SELECT COUNT(*) + %d FROM users", i))
	return strings.TrimSpace(r.stdout), r
}

// TestOnePeerByHand is killed under load at any moment, again and again, and stopped politely at the end.
func TestOnePeerByHand(t *testing.T) {
	s := newSolo(t, home(t))
	s.users()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := s.client(s.p)
	nothing := cancelling(t, c)
	var jobs []string
	var commands []digest.Digest // that were acknowledged
	nonce := uint64(0)
	for i := range 10 {
		id, r := s.promise(i)
		if r.code != 0 {
			t.Fatalf("submit: exit code %d: %s", r.code, r.stderr)
		}
		jobs = append(jobs, id)
		// Several at once, so that the kill comes amid writes. One that breaks off was not acknowledged.
		const writers = 4
		taken, stop, done := make(chan digest.Digest), make(chan struct{}), make(chan struct{})
		for range writers {
			first := nonce
			nonce += 1 << 20
			go func() {
				defer func() { done <- struct{}{} }()
				for k := first; ; k++ {
					a, err := c.SubmitCommand(t.Context(), nothing(k))
					if err != nil {
						return
					}
					select {
					case taken <- a.ID:
					case <-stop:
						return
					}
				}
			}()
		}
		for range 1 + rnd.IntN(60) {
			select {
			case id := <-taken:
				commands = append(commands, id)
			case <-time.After(20 * time.Second):
				t.Fatal("no command was taken for 20 s")
			}
		}
		was := s.head(s.p)
		_ = s.end(syscall.SIGKILL) // wherever it is with all these
		close(stop)
		for range writers {
			<-done
		}
		s.begin()
		s.regains(s.p, was)
	}
	t.Logf("%d jobs and %d commands were acknowledged; height %d", len(jobs), len(commands), s.height(s.p))
	for i, id := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		if got, err := s.client(s.p).WaitCommand(ctx, id); err != nil || got.State != api.CommandOrdered {
			t.Fatalf("command %d of %d that were acknowledged is %s: %v", i, len(commands), got.State, err)
		}
		cancel()
	}
	for _, id := range jobs {
		if j := s.ended(s.p, id, 60*time.Second); j.State != api.JobSealed {
			t.Errorf("job %.12s is %s: %s", id, j.State, j.Reason)
		}
	}
	if err := s.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v; want a clean end", err)
	}
	if _, err := os.Stat(s.p.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestPeerMadeByInit begins a chain with bpi init, starts the peer as init says, and lets another one join it by its
// address alone with the genesis that the first one serves.
func TestPeerMadeByInit(t *testing.T) {
	bin(t)
	t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
	t.Setenv("BPI_API_LISTEN", "127.0.0.1:0")
	first, second := home(t), home(t)
	n := &testnet{t: t, home: first}
	t.Cleanup(n.down)
	peers := map[string]*peer{}
	for _, dir := range []string{first, second} {
		peers[dir] = &peer{Name: filepath.Base(dir), Dir: dir, Socket: filepath.Join(dir, "api.sock")}
	}
	made := func(dir string, args ...string) {
		t.Helper()
		r := n.runWith(dir, append([]string{"init", "--listen-port", "0"}, args...)...)
		if r.code != 0 || !strings.HasPrefix(r.stdout, "12D3") || !strings.Contains(r.stderr, "bpi node start --config") {
			t.Fatalf("init: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		if r := n.runWith(dir, append([]string{"init"}, args...)...); r.code != 1 || !strings.Contains(r.stderr, "is there already") {
			t.Errorf("init over a peer: exit code %d\n%s", r.code, r.stderr)
		}
		if info, err := os.Stat(filepath.Join(dir, "keys", "node.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the node key: %v, %v", info, err)
		}
		n.restart(peers[dir])
		n.peers = append(n.peers, peers[dir])
	}
	made(first, "--new-chain", "--network", "byhand")
	n.users()
	s, err := n.client(peers[first]).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := n.client(peers[first]).Genesis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := n.runWith(home(t), "init", "--genesis", "/etc/passwd"); r.code != 1 || !strings.Contains(r.stderr, "/etc/passwd") || !strings.Contains(r.stderr, "get the file again") {
		t.Errorf("init with a genesis that is none: exit code %d\n%s", r.code, r.stderr)
	}
	if r := n.runWith(home(t), "init", "--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/"+s.Peer); r.code != 1 || !strings.Contains(r.stderr, "--genesis") {
		t.Errorf("init by a peer that does not answer: exit code %d\n%s", r.code, r.stderr)
	}
	var args []string
	for _, a := range s.Addresses {
		args = append(args, "--bootstrap", a)
	}
	made(second, args...)
	if got, err := os.ReadFile(filepath.Join(second, "genesis.cbor")); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("the genesis that the peer gave: %d bytes, %v; want %d", len(got), err, len(raw))
	}
	eventually(t, 20*time.Second, "caught up", func() bool {
		h := n.height(peers[first])
		return h > 0 && n.height(peers[second]) >= h
	})
	r := n.runWith(second, "--api", "unix://"+peers[second].Socket, "--format", "csv")
	if r.code != 2 {
		t.Errorf("a flag that is none: exit code %d", r.code)
	}
	r = n.runWith(second, "--api", "unix://"+peers[second].Socket, "analytics", "submit", "--format", "csv", "--replicas", "1", "--quorum", "1", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
	if r.code != 0 || !strings.Contains(r.stdout, "1000") {
		t.Errorf("through the follower: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestPortsTaken starts a peer whose ports others have: the error names the port and the setting.
func TestPortsTaken(t *testing.T) {
	bin(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_, udp, _ := net.SplitHostPort(u.LocalAddr().String())
	file := filepath.Join(home(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := &testnet{t: t, home: home(t)}
	for name, c := range map[string]struct{ variable, value, thing, setting string }{
		"mesh by TCP":  {"BPI_P2P_LISTEN_PORT", port, port, "listen_port"},
		"mesh by QUIC": {"BPI_P2P_LISTEN_PORT", udp, udp, "listen_port"},
		"API":          {"BPI_API_LISTEN", address, port, "[api]"},
		"API socket":   {"BPI_API_SOCKET", file, file, "[api]"},
		"gateway":      {"BPI_GATEWAY_LISTEN", address, port, "[gateway]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
			t.Setenv(c.variable, c.value)
			n.t = t
			r := n.runWith(home(t), "node", "start", "--config", "../configs/devnet.toml")
			if r.code != 1 || !strings.Contains(r.stderr, c.thing) || !strings.Contains(r.stderr, c.setting) {
				t.Errorf("exit code %d; want 1 and an error that names %s and %s:\n%s", r.code, c.thing, c.setting, r.stderr)
			}
		})
	}
	n.t = t
	r := n.runWith(home(t), "devnet", "up", "--nodes", "1", "--detach", "--gateway-port", port)
	if r.code != 1 || !strings.Contains(r.stderr, port) || !strings.Contains(r.stderr, "--gateway-port") {
		t.Errorf("devnet up: exit code %d:\n%s", r.code, r.stderr)
	}
}

// TestFullDisk fills the disk under a peer: what it promised before and meanwhile is kept once there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := home(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("no small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := newSolo(t, dir)
	s.users()
	before, r := s.promise(0)
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	s.ended(s.p, before, 60*time.Second)
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill := func() {
		for {
			if _, err := f.Write(make([]byte, 64<<10)); err != nil {
				for { // and the last page
					if _, err := f.Write(make([]byte, 512)); err != nil {
						return
					}
				}
			}
		}
	}
	fill()
	promised := []string{before}
	for i := range 5 {
		id, r := s.promise(100 + i)
		switch {
		case r.code == 0 && id != "":
			promised = append(promised, id)
		default:
			t.Logf("on a full disk: exit code %d: %s", r.code, strings.TrimSpace(r.stderr))
			if !strings.Contains(r.stderr, "no space left") && !strings.Contains(r.stderr, "disk") {
				t.Errorf("on a full disk the error does not say so:\n%s", r.stderr)
			}
		}
		fill()
	}
	// Commands of its own client reach the chain itself, which cannot write either.
	c := s.client(s.p)
	height := s.height(s.p)
	ordered := 0
	var commands []digest.Digest
	nothing := cancelling(t, c)
	for ; ordered < 3000; ordered++ {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var a api.CommandAccepted
		a, err = c.SubmitCommand(ctx, nothing(uint64(ordered)))
		cancel()
		if err != nil {
			break
		}
		commands = append(commands, a.ID)
	}
	t.Logf("on a full disk %d commands were ordered in what room was reserved, then: %v", ordered, err)
	t.Logf("the height went from %d to %d, the process has ended: %v", height, s.height(s.p), gone(s.p.pid()))
	if err := os.Truncate(filler, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if gone(s.p.pid()) {
		err := s.p.again.Wait()
		if said := s.out.String(); err == nil || !strings.Contains(said, "disk") || !strings.Contains(said, "full") {
			t.Errorf("the peer ended (%v) and did not say that the disk is full:\n%s", err, said)
		}
		s.begin()
	}
	for i, id := range commands { // what was acknowledged is ordered, or will be
		if got, err := c.WaitCommand(t.Context(), id); err != nil || got.State != api.CommandOrdered {
			t.Fatalf("command %d of %d that were acknowledged on a full disk is %s: %v", i, len(commands), got.State, err)
		}
	}
	after, r := s.promise(1000)
	if r.code != 0 {
		t.Logf("first submit with room again: exit code %d: %s", r.code, r.stderr)
		_ = s.end(syscall.SIGKILL)
		s.begin()
		if after, r = s.promise(1001); r.code != 0 {
			t.Fatalf("after a restart with room: %s", r.stderr)
		}
	}
	for _, id := range append(promised, after) {
		if j := s.ended(s.p, id, 60*time.Second); j.State != api.JobSealed {
			t.Errorf("job %.12s is %s: %s", id, j.State, j.Reason)
		}
	}
}
