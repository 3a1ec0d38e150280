package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// TestJoinBySnapshotAcrossAChangeOfValidators lets a peer join after the validators have changed and the blocks of the
// change are pruned everywhere: it follows the handovers to the snapshot's epoch, is let in, and is needed for the quorum.
func TestJoinBySnapshotAcrossAChangeOfValidators(t *testing.T) {
	path := filepath.Join(home(t), "short.toml")
	if err := os.WriteFile(path, []byte("[consensus]\nblock_time_ms = 30\n[storage]\nsnapshot_interval = 64\nretain_blocks = 64\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := up(t, 4, "--config", path)
	old := slices.Clone(n.peers)
	n.change(old, "--remove", old[3].Name)
	changed := n.head(old[0]).Height
	status := func(p *peer) (s api.ChainStatus) {
		s, _ = n.client(p).ChainStatus(t.Context()) // a peer that is not up yet has nothing
		return s
	}
	eventually(t, time.Minute, "the change pruned on every peer", func() bool {
		return !slices.ContainsFunc(old, func(p *peer) bool { return status(p).Base <= changed })
	})

	late := n.candidate("late")
	log, err := os.ReadFile(filepath.Join(late.Dir, "log", "node.log"))
	if err != nil || !strings.Contains(string(log), "joined by snapshot") {
		t.Errorf("the late one did not join by snapshot: %v", err)
	}
	if s := status(late); s.Base <= changed {
		t.Errorf("the late one has blocks from %d on; the validators changed before %d", s.Base, changed)
	}
	if v := n.validators(late); names(v) != "node1 node2 node3" || v.Epoch != 1 {
		t.Errorf("the late one knows validators %s of epoch %d", names(v), v.Epoch)
	}
	r := n.runWith(late.Dir, "--api", "unix://"+late.Socket, "chain", "block", "5")
	if r.code != 1 || !strings.Contains(r.stderr, "block 5 is not kept here") || !strings.Contains(r.stderr, "--peer") {
		t.Errorf("chain block: exit code %d\n%s", r.code, r.stderr)
	}

	n.change(old[:3], "--add", late.card())
	eventually(t, 20*time.Second, "the late one validates", func() bool { return n.validates(late) })
	n.kill(old[2])
	at := n.height(late)
	eventually(t, 30*time.Second, "blocks that need its vote", func() bool { return n.height(old[0]) > at+20 && n.height(late) > at+20 })
}
