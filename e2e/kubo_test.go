package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/p2p"
)

// kuboBin is the program of a stock IPFS node, or skips. Compiling it takes minutes.
func kuboBin(t testing.TB) string {
	t.Helper()
	b := os.Getenv("BPI_KUBO")
	if b == "" {
		t.Skip("BPI_KUBO names no kubo: run make interop, which builds it")
	}
	if _, err := os.Stat(b); err != nil {
		t.Skipf("kubo is not built yet (%v): run make interop, which builds it", err)
	}
	return b
}

// inFull says that this is make interop, and not the small part of it that is run among all tests.
func inFull() bool { return os.Getenv("BPI_INTEROP") != "" }

// interopBytes is how large the files are that go both ways.
func interopBytes() int {
	if inFull() {
		return 64 << 20
	}
	return 1 << 20
}

// kubo is a daemon with a repository of its own: on loopback, with ports of the kernel's choice, that knows nobody.
type kubo struct {
	t   testing.TB
	dir string
	id  string
}

func newKubo(t testing.TB) *kubo {
	t.Helper()
	k := &kubo{t: t, dir: home(t)}
	k.must("init", "--profile", "test") // loopback, no bootstrap, no mDNS, no AutoConf
	for key, value := range map[string]string{
		"Routing.Type": `"none"`, "Provide.Enabled": "false", "AutoTLS.Enabled": "false", "HTTPRetrieval.Enabled": "false",
		"Plugins.Plugins.telemetry.Disabled": "true",
	} {
		k.must("config", "--json", key, value)
	}
	k.id = k.must("config", "Identity.PeerID")
	return k
}

func (k *kubo) command(ctx context.Context, args ...string) *exec.Cmd {
	k.t.Helper()
	cmd := exec.CommandContext(ctx, kuboBin(k.t), args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+k.dir, "IPFS_TELEMETRY=off", "GOLOG_LOG_LEVEL=error")
	return cmd
}

func (k *kubo) run(within time.Duration, args ...string) (stdout string, err error) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), within)
	defer cancel()
	cmd := k.command(ctx, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	raw, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("ipfs %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(raw)), err
}

func (k *kubo) must(args ...string) string {
	k.t.Helper()
	out, err := k.run(2*time.Minute, args...)
	must(k.t, err)
	return out
}

// start runs the daemon until the test ends.
func (k *kubo) start() {
	k.t.Helper()
	log, err := os.Create(filepath.Join(k.dir, "daemon.log"))
	must(k.t, err)
	defer log.Close()
	cmd := k.command(context.Background(), "daemon")
	cmd.Stdout, cmd.Stderr = log, log
	must(k.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	said := func() string {
		raw, _ := os.ReadFile(log.Name())
		return string(raw)
	}
	k.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			k.t.Error("kubo did not end when it was told to")
		}
		if k.t.Failed() {
			k.t.Logf("kubo's log:\n%s", said())
		}
	})
	eventually(k.t, time.Minute, "kubo is ready", func() bool {
		select {
		case err := <-ended:
			ended <- err
			k.t.Fatalf("kubo ended: %v\n%s", err, said())
		default:
		}
		return strings.Contains(said(), "Daemon is ready")
	})
}

// peerWith makes the daemon that is started next keep a connection, as docs/network.md tells: kubo broadcasts its wishes to
// such peers, and to others only if they are its neighbours.
func (k *kubo) peerWith(address string) {
	k.t.Helper()
	addr, id, _ := strings.Cut(address, "/p2p/")
	k.must("config", "--json", "Peering.Peers", fmt.Sprintf(`[{"ID": %q, "Addrs": [%q]}]`, id, addr))
}

// sealWith gives the daemon a swarm key file, as it is.
func (k *kubo) sealWith(raw []byte) {
	k.t.Helper()
	must(k.t, os.WriteFile(filepath.Join(k.dir, "swarm.key"), raw, 0o600))
}

// refused is a kubo that knows a peer's address and the name of what it has, and gets neither that nor anything else.
func (k *kubo) refused(given, cid string) {
	k.t.Helper()
	own := k.must("swarm", "addrs", "local")
	_, _ = k.run(20*time.Second, "swarm", "connect", given) // the dialer's half of the handshake may end before it is refused
	if out, err := k.run(3*time.Second, "block", "get", cid); err == nil {
		k.t.Errorf("it got a block of %d bytes", len(out))
	}
	_, id, _ := strings.Cut(given, "/p2p/")
	eventually(k.t, 10*time.Second, "the connection is closed", func() bool { return !strings.Contains(k.must("swarm", "peers"), id) })
	if out, err := k.run(20*time.Second, "id", id); err == nil && (strings.Contains(out, "bpci") || strings.Contains(out, "metanode")) {
		k.t.Errorf("it learnt of the peer: %s", out)
	}
	// Of addresses it knows its own and the one that it was given.
	for line := range strings.Lines(k.must("swarm", "addrs")) {
		line = strings.TrimSpace(line)
		who, _, _ := strings.Cut(line, " ")
		if address := strings.HasPrefix(line, "/"); address && !strings.Contains(given, line) && !strings.Contains(own, line) || !address && who != id && who != k.id {
			k.t.Errorf("it learnt of %s", line)
		}
	}
}

// alone begins a network of one peer in a new home.
func alone(t *testing.T, create ...string) (*testnet, *peer, string) {
	t.Helper()
	bin(t)
	onLoopback(t)
	founder := home(t)
	n := &testnet{t: t, home: founder}
	t.Cleanup(n.down)
	if r := n.run(append([]string{"network", "create"}, create...)...); r.code != 0 {
		t.Fatalf("create: exit code %d\n%s", r.code, r.stderr)
	}
	first := n.member(founder)
	s, err := n.client(first).Status(t.Context())
	must(t, err)
	for _, a := range s.Addresses {
		if strings.Contains(a, "/tcp/") {
			return n, first, a
		}
	}
	t.Fatalf("no TCP address among %v", s.Addresses)
	return nil, nil, ""
}

// table writes a CSV file of about size bytes that does not repeat itself.
func table(t testing.TB, path string, seed byte, size int) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	_, err = fmt.Fprintln(f, "id,text")
	must(t, err)
	noise, raw := rand.NewChaCha8([32]byte{seed}), make([]byte, 500)
	for i := 0; i*1008 < size; i++ {
		_, _ = noise.Read(raw)
		_, err = fmt.Fprintf(f, "%d,%x\n", i, raw)
		must(t, err)
	}
}

func same(t testing.TB, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	must(t, err)
	y, err := os.ReadFile(b)
	must(t, err)
	if !bytes.Equal(x, y) {
		t.Errorf("%s (%d bytes) and %s (%d) differ", a, len(x), b, len(y))
	}
}

// exchange lets a peer and kubo, which are connected, fetch from each other: a data set by its CID, and what kubo added.
func (n *testnet) exchange(p *peer, k *kubo) (ours string) {
	n.t.Helper()
	eventually(n.t, 30*time.Second, "kubo is connected", func() bool {
		for line := range strings.Lines(n.must("network", "guests")) {
			if strings.Contains(line, k.id) && strings.Contains(line, "connected") {
				return true
			}
		}
		return false
	})
	dir := home(n.t)
	path := func(name string) string { return filepath.Join(dir, name) }
	rate := func(what, file string, since time.Time) {
		info, err := os.Stat(file)
		must(n.t, err)
		took := time.Since(since)
		n.t.Logf("%s: %.1f MB in %s, %.1f MB/s", what, float64(info.Size())/1e6, took.Round(time.Millisecond), float64(info.Size())/1e6/took.Seconds())
	}

	table(n.t, path("ours.csv"), 1, interopBytes())
	n.must("dataset", "add", path("ours.csv"), "--name", "ours", "--holders", "1")
	list, err := n.client(p).DAGs(n.t.Context())
	must(n.t, err)
	info, err := os.Stat(path("ours.csv"))
	must(n.t, err)
	for _, d := range list.DAGs {
		if d.Bytes == uint64(info.Size()) {
			ours = d.CID
		}
	}
	if ours == "" {
		n.t.Fatalf("no data set among %+v", list.DAGs)
	}
	since := time.Now()
	_, err = k.run(5*time.Minute, "get", ours, "-o", path("ours-back.csv"))
	must(n.t, err)
	rate("kubo from us", path("ours-back.csv"), since)
	same(n.t, path("ours.csv"), path("ours-back.csv"))
	// Under the profile that both cut by, kubo gives the file the same name.
	if again := k.must("add", "-Q", "--only-hash", "--cid-version", "1", "--raw-leaves", "--chunker", "size-1048576", "--max-file-links", "1024", path("ours-back.csv")); again != ours {
		n.t.Errorf("kubo calls the file %s, and bpi %s", again, ours)
	}

	table(n.t, path("theirs.csv"), 2, interopBytes())
	theirs := k.must("add", "-Q", path("theirs.csv"))
	since = time.Now()
	n.must("blob", "get", theirs, "-o", path("theirs-back.csv"))
	rate("we from kubo", path("theirs-back.csv"), since)
	same(n.t, path("theirs.csv"), path("theirs-back.csv"))
	n.must("dataset", "add", path("theirs-back.csv"), "--name", "theirs", "--holders", "1")
	if out := n.must("dataset", "show", "theirs"); !strings.Contains(out, "theirs") {
		n.t.Errorf("the data set that came from kubo: %s", out)
	}

	// A folder, too.
	for _, name := range []string{"a", "b/c"} {
		must(n.t, os.MkdirAll(filepath.Dir(path("folder/"+name)), 0o755))
		must(n.t, os.WriteFile(path("folder/"+name), []byte(name), 0o644))
	}
	n.must("blob", "get", k.must("add", "-Q", "-r", path("folder")), "-o", path("folder.ours"))
	k.must("get", strings.TrimSpace(n.must("blob", "add", "--id-only", path("folder"))), "-o", path("folder.theirs"))
	for _, copied := range []string{"folder.ours", "folder.theirs"} {
		if want, have := tree(n.t, path("folder")), tree(n.t, path(copied)); want != have {
			n.t.Errorf("%s is\n%snot\n%s", copied, have, want)
		}
	}
	return ours
}

func TestKuboAndAnOpenNetworkFetchFromEachOther(t *testing.T) {
	kuboBin(t)
	n, p, address := alone(t, "acme")
	k := newKubo(t)
	k.peerWith(address)
	k.start()
	k.must("swarm", "connect", address) // by itself it begins after some seconds
	n.exchange(p, k)
	// The same eyes that see nothing of a private network see this one.
	if _, id, _ := strings.Cut(address, "/p2p/"); !strings.Contains(k.must("id", id), "metanode/") {
		t.Error("kubo learnt nothing of the peer")
	}
	out := n.must("network", "guests")
	if !strings.Contains(out, k.id) || !strings.Contains(out, "kubo/0.43") || !strings.Contains(out, "itself") {
		t.Errorf("guests:\n%s", out)
	}
	s, err := n.client(p).Status(t.Context())
	if err != nil || s.Peers != 0 {
		t.Errorf("kubo counts as a peer of the network: %+v, %v", s, err)
	}
}

func TestKuboAndAPrivateNetworkFetchFromEachOther(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(map[bool]string{false: "private", true: "sealed"}[sealed], func(t *testing.T) {
			kuboBin(t)
			if !sealed && !inFull() {
				t.Skip("the sealed network is the small part; run make interop for this one")
			}
			k, unlisted := newKubo(t), newKubo(t)
			t.Setenv("BPI_P2P_FOREIGN_PEERS", k.id)
			create := []string{"--private", "acme"}
			if sealed {
				create = append([]string{"--sealed"}, create...)
			}
			n, p, address := alone(t, create...)
			if sealed {
				raw, err := os.ReadFile(filepath.Join(n.home, "swarm.key"))
				must(t, err)
				k.sealWith(raw)
				unlisted.sealWith(raw)
			}
			k.peerWith(address)
			k.start()
			k.must("swarm", "connect", address)
			cid := n.exchange(p, k)
			if out := n.must("network", "guests"); !strings.Contains(out, k.id) || !strings.Contains(out, "configuration") || !strings.Contains(out, "connected") {
				t.Errorf("guests:\n%s", out)
			}
			if out := n.must("network", "members"); strings.Contains(out, k.id) {
				t.Errorf("kubo is a member:\n%s", out)
			}

			unlisted.start()
			unlisted.refused(address, cid)
			if sealed && inFull() {
				n.withoutTheKey(address, cid)
			}
			if out := n.must("network", "resources"); strings.Contains(out, " 0 of outsiders were closed") {
				t.Errorf("resources:\n%s", out)
			}
		})
	}
}

// withoutTheKey tries kubo with another swarm key and with none.
func (n *testnet) withoutTheKey(address, cid string) {
	n.t.Helper()
	other, err := p2p.NewSwarmKey(io.LimitReader(rand.NewChaCha8([32]byte{7}), 32))
	must(n.t, err)
	for name, raw := range map[string][]byte{"another key": other.Encode(), "no key": nil} {
		k := newKubo(n.t)
		if raw != nil {
			k.sealWith(raw)
		}
		k.start()
		if out, err := k.run(20*time.Second, "swarm", "connect", address); err == nil {
			n.t.Errorf("with %s kubo is connected: %s", name, out)
		} else if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			n.t.Errorf("with %s: %v", name, err)
		}
		k.refused(address, cid)
	}
}
