package e2e

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// listens are the addresses at which a peer is to be dialed, as far as another one that is connected to it knows.
func (n *testnet) listens(p *peer, id string) []string {
	list, err := n.client(p).Peers(n.t.Context())
	if err != nil {
		return nil
	}
	for _, x := range list {
		if x.ID == id {
			return x.Listens
		}
	}
	return nil
}

// TestPeerThatMovesIsFoundAgain takes a validator's address away and gives it another one, while it runs: the others have
// it again by the new address, it votes and executes as before, and one that comes later finds it as well.
func TestPeerThatMovesIsFoundAgain(t *testing.T) {
	bin(t)
	w, err := needGround(t).lay(netip.MustParsePrefix("10.77.0.0/24"), 5)
	if err != nil {
		t.Fatal(err)
	}
	n := w.founders(4)
	n.users()
	mover := n.peers[3]
	s, err := n.client(mover).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	was, is := w.address(3), "10.77.0.50"
	w.list[3].readdress(netip.MustParseAddr(is))
	for _, p := range n.peers[:3] {
		eventually(t, 30*time.Second, p.Name+" has the peer that moved at its new address alone", func() bool {
			known := n.listens(p, s.Peer)
			return slices.ContainsFunc(known, func(a string) bool { return strings.Contains(a, "/"+is+"/") }) &&
				!slices.ContainsFunc(known, func(a string) bool { return strings.Contains(a, "/"+was+"/") })
		})
		eventually(t, 20*time.Second, p.Name+" has saved the new address", func() bool {
			raw, err := os.ReadFile(filepath.Join(p.Dir, "data", "peers.json"))
			return err == nil && bytes.Contains(raw, []byte("/"+is+"/")) && !bytes.Contains(raw, []byte("/"+was+"/"))
		})
	}
	job := n.job("SELECT COUNT(*) FROM users", "--replicas", "4", "--quorum", "4")
	if j := n.ended(n.peers[0], job, 60*time.Second); j.State != api.JobSealed || !slices.ContainsFunc(j.Executions, func(x api.Execution) bool { return x.Peer == s.Key }) {
		t.Errorf("a job of all four peers is %s (%s): %+v", j.State, j.Reason, j.Executions)
	}
	w.cut(1)
	nothing := cancelling(t, n.client(n.peers[0]))
	if !n.orders(n.peers[0], nothing(1), 20*time.Second) {
		t.Error("without one other validator nothing is ordered: the one that moved does not vote")
	}
	// One that comes later and was told of another peer alone finds it as well, when it wants something of it.
	only := filepath.Join(t.TempDir(), "only.bin")
	if err := os.WriteFile(only, bytes.Repeat([]byte("what only the peer that moved has\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	cid := n.at(mover, "blob", "add", "--id-only", only)
	late := n.follower("late", w.list[4], w.bootstrapAddress(n, 0))
	n.ready(late)
	got := filepath.Join(t.TempDir(), "got.bin")
	eventually(t, 30*time.Second, "a newcomer fetches from the peer that moved", func() bool { // once its search finds who has it
		r := n.runWith(n.home, "--api", "unix://"+late.Socket, "blob", "get", cid, "-o", got)
		if r.code != 0 {
			t.Logf("blob get: exit code %d: %s", r.code, r.stderr)
		}
		return r.code == 0
	})
}
