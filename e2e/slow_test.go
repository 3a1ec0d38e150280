package e2e

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// TestOneSlowPeer leaves one of four validators two megabits a second: the chain seals jobs as before, what only the slow
// peer has comes slowly and whole, and who fetches from another meanwhile does not wait for it.
func TestOneSlowPeer(t *testing.T) {
	const size, bytesPerSecond = 3 << 20, 2_000_000 / 8
	bin(t)
	w, err := needGround(t, "tc").lay(netip.MustParsePrefix("10.77.0.0/24"), 4)
	if err != nil {
		t.Fatal(err)
	}
	n := w.founders(4)
	n.users()
	slow, first, second := n.peers[3], n.peers[0], n.peers[1]
	dir := home(t)
	blob := func(at *peer, seed byte) (cid string, raw []byte) {
		t.Helper()
		raw = make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(raw)
		file := filepath.Join(dir, at.Name)
		must(t, os.WriteFile(file, raw, 0o600))
		return n.at(at, "blob", "add", "--id-only", file), raw
	}
	fetch := func(at *peer, cid string, want []byte) {
		t.Helper()
		to := filepath.Join(dir, "at-"+at.Name)
		n.at(at, "blob", "get", cid, "-o", to)
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("what %s fetched is %d bytes, %v; not what was added", at.Name, len(got), err)
		}
	}
	slowCID, slowRaw := blob(slow, 1)
	fastCID, fastRaw := blob(first, 2)
	w.list[3].shape("2mbit")
	begin, took := time.Now(), make(chan time.Duration, 1)
	go func() {
		defer func() { took <- time.Since(begin) }()
		to := filepath.Join(dir, "slowly")
		r := n.runWith(n.home, "--api", "unix://"+first.Socket, "blob", "get", slowCID, "-o", to)
		if got, err := os.ReadFile(to); r.code != 0 || err != nil || !bytes.Equal(got, slowRaw) {
			t.Errorf("from the slow peer: exit code %d, %d bytes, %v\n%s", r.code, len(got), err, r.stderr)
		}
	}()
	fetch(second, fastCID, fastRaw)
	for range 3 {
		job := n.at(second, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
		if j := n.ended(second, job, 30*time.Second); j.State != api.JobSealed {
			t.Errorf("with a slow peer a job is %s: %s", j.State, j.Reason)
		}
	}
	select {
	case d := <-took:
		t.Errorf("after %v all came from the slow peer, before the others were done", d)
	default:
	}
	if d := <-took; d < size/bytesPerSecond*time.Second*8/10 {
		t.Errorf("%d bytes came in %v: the peer was not slow", size, d)
	}
	job := n.at(second, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--replicas", "4", "--quorum", "4", "--query", "SELECT COUNT(*) FROM users")
	if j := n.ended(second, job, 30*time.Second); j.State != api.JobSealed {
		t.Errorf("a job of all four, the slow one with them, is %s: %s", j.State, j.Reason)
	}
}
