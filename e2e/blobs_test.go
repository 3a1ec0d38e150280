package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// at runs a command on one peer.
func (n *testnet) at(p *peer, args ...string) string {
	n.t.Helper()
	r := n.runWith(n.home, append([]string{"--api", "unix://" + p.Socket}, args...)...)
	if r.code != 0 {
		n.t.Fatalf("%s: bpi %s: exit code %d\n%s%s", p.Name, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// tree is what a folder holds: the digest of each file, the target of each link.
func tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case d.IsDir():
			fmt.Fprintf(&b, "%s/\n", rel)
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			fmt.Fprintf(&b, "%s -> %s\n", rel, to)
			return err
		default:
			raw, err := os.ReadFile(p)
			fmt.Fprintf(&b, "%s %x\n", rel, sha256.Sum256(raw))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBlobsTravelBetweenPeersAndFiles(t *testing.T) {
	n := up(t, 4)
	dir := home(t)
	from := filepath.Join(dir, "from")
	noise := rand.NewChaCha8([32]byte{1})
	for name, size := range map[string]int{"empty": 0, "small": 100, "sub/one": 1 << 20, "sub/deep/large": 5<<20 + 17} {
		raw := make([]byte, size)
		_, _ = noise.Read(raw)
		p := filepath.Join(from, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, raw, 0o644))
	}
	must(t, os.Symlink("one", filepath.Join(from, "sub", "link")))
	want := tree(t, from)

	cid := n.at(n.peers[0], "blob", "add", "--id-only", from)
	if again := n.at(n.peers[0], "blob", "add", "--id-only", from); again != cid {
		t.Errorf("the same folder is %s and %s", cid, again)
	}
	n.at(n.peers[1], "blob", "get", cid, "-o", filepath.Join(dir, "to"))
	if have := tree(t, filepath.Join(dir, "to")); have != want {
		t.Errorf("what came back is\n%snot\n%s", have, want)
	}
	n.refused(1, []string{"not overwritten"}, "blob", "get", cid, "-o", filepath.Join(dir, "to", "small"))

	// Any peer gives what it has to a stranger, and takes no orders from one.
	remote := []string{"--peer", n.peers[1].Address}
	if r := n.runWith(home(t), append(remote, "blob", "get", cid, "-o", filepath.Join(dir, "remote"))...); r.code != 0 || tree(t, filepath.Join(dir, "remote")) != want {
		t.Errorf("from a peer elsewhere: exit code %d\n%s", r.code, r.stderr)
	}
	for _, order := range []string{"pin", "unpin"} {
		if r := n.runWith(home(t), append(remote, "blob", order, cid)...); r.code != 1 || !strings.Contains(r.stderr, "may not administer") {
			t.Errorf("a stranger's %s: exit code %d\n%s", order, r.code, r.stderr)
		}
	}

	// Out to a file, forgotten, and in again.
	car := filepath.Join(dir, "from.car")
	n.at(n.peers[1], "blob", "export", "--car", car, cid)
	for _, p := range n.peers[:2] {
		n.at(p, "blob", "unpin", cid)
		n.at(p, "blob", "gc")
		if list := n.at(p, "--json", "blob", "list"); strings.Contains(list, cid) {
			t.Errorf("%s still has what nobody pinned: %s", p.Name, list)
		}
	}
	n.refused(1, []string{"no peer gave the blob", "bpi network peers"}, "blob", "get", cid, "-o", filepath.Join(dir, "gone"))
	if got := n.at(n.peers[2], "blob", "import", "--id-only", "--car", car); got != cid {
		t.Errorf("the CAR file holds %s, not %s", got, cid)
	}
	n.at(n.peers[2], "blob", "get", cid[:20], "-o", filepath.Join(dir, "back"))
	if have := tree(t, filepath.Join(dir, "back")); have != want {
		t.Errorf("what came out of the CAR file is\n%snot\n%s", have, want)
	}
}

// bigCSV writes a table of about 64 MiB that does not repeat itself, and gives its digest.
func bigCSV(t *testing.T, path string, seed byte) (digest string, bytes int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(f, h))
	noise := rand.NewChaCha8([32]byte{seed})
	raw := make([]byte, 500)
	fmt.Fprintln(w, "id,text")
	for i := range 64 << 20 / 1008 {
		_, _ = noise.Read(raw)
		fmt.Fprintf(w, "%d,%s\n", i, hex.EncodeToString(raw))
	}
	must(t, w.Flush())
	info, err := f.Stat()
	must(t, err)
	return hex.EncodeToString(h.Sum(nil)), info.Size()
}

// TestKilledPeerGoesOnWithItsFetch kills a peer in the middle of fetching a data set that it is to hold.
func TestKilledPeerGoesOnWithItsFetch(t *testing.T) {
	n := up(t, 4)
	dir := home(t)
	for seed := byte(1); ; seed++ {
		file, name := filepath.Join(dir, fmt.Sprintf("big%d.csv", seed)), fmt.Sprintf("big%d", seed)
		sum, size := bigCSV(t, file, seed)
		victim, had := n.killFetching(file, name, size)
		if victim == nil { // every peer was faster than the looks at it
			if seed == 4 {
				t.Fatal("no peer was caught in the middle of a fetch")
			}
			continue
		}
		t.Logf("%s is killed with %d of %d bytes", victim.Name, had, size)
		n.start(victim)
		c := n.client(victim)
		eventually(t, 2*time.Minute, "held by all", func() bool {
			d, err := c.Dataset(t.Context(), name)
			return err == nil && len(d.Holders) == 4
		})
		// A block may come from two peers when one was slow: half of what was there is more than all of those.
		if in := n.metric(victim, "bpci_blob_in_bytes_total"); in < 0 || in > float64(uint64(size)-had/2) {
			t.Errorf("after the kill %.0f bytes came, although %d of %d were there", in, had, size)
		}
		to := filepath.Join(dir, "back")
		n.at(victim, "dataset", "get", name, "--to", to)
		raw, err := os.ReadFile(filepath.Join(to, filepath.Base(file)))
		must(t, err)
		if have := sha256.Sum256(raw); hex.EncodeToString(have[:]) != sum {
			t.Errorf("the file that came back is %x, not %s", have, sum)
		}
		return
	}
}

// killFetching adds a data set at the first peer, and kills another that is in the middle of fetching it.
func (n *testnet) killFetching(file, name string, size int64) (victim *peer, had uint64) {
	n.t.Helper()
	done := make(chan result, 1)
	go func() { done <- n.run("dataset", "add", file, "--name", name, "--holders", "4", "--detach") }()
	clients := map[*peer]*api.Client{}
	for _, p := range n.peers[1:] {
		clients[p] = n.client(p)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for victim == nil && time.Now().Before(deadline) {
		whole := 0
		for p, c := range clients {
			list, err := c.DAGs(n.t.Context())
			if err != nil {
				n.t.Fatal(err)
			}
			for _, d := range list.DAGs {
				switch {
				case d.Whole && d.Bytes == uint64(size):
					whole++
				case !d.Whole && d.Total == uint64(size) && d.Fetched > 24<<20 && d.Fetched < d.Total-8<<20 && victim == nil:
					n.kill(p)
					victim, had = p, d.Fetched
				}
			}
		}
		if whole == len(clients) {
			break
		}
	}
	if r := <-done; r.code != 0 {
		n.t.Fatalf("dataset add: exit code %d\n%s", r.code, r.stderr)
	}
	return victim, had
}
