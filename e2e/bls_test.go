package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// TestValidatorsThatSignByBLS begins a network of the second signature scheme, seals a job, changes the validators, and
// has what came of it verified with no node at hand.
func TestValidatorsThatSignByBLS(t *testing.T) {
	n := up(t, 4, "--signature-scheme", "bls12-381")
	n.users()
	old := n.peers[:4:4]
	v := n.validators(old[0])
	if v.Scheme != "bls12-381" || len(v.Validators) != 4 || v.Validators[0].BLS.IsZero() {
		t.Fatalf("validators %+v", v)
	}
	var jobs []string
	seal := func() {
		t.Helper()
		job := n.job("SELECT COUNT(*) FROM users")
		if j := n.ended(n.peers[0], job, time.Minute); j.State != api.JobSealed {
			t.Fatalf("job %s: %s", job, j.State)
		}
		jobs = append(jobs, job)
	}
	seal()
	trust := filepath.Join(n.home, "genesis-trust.json")
	if err := os.WriteFile(trust, []byte(n.must("chain", "trust")), 0o600); err != nil {
		t.Fatal(err)
	}

	fresh := n.candidate("fresh")
	n.change(old, "--remove", "node4", "--add", fresh.card())
	eventually(t, 20*time.Second, "the new validator votes, and the old one does not", func() bool {
		return n.validates(fresh) && !n.validates(old[3])
	})
	if v := n.validators(old[0]); names(v) != "node1 node2 node3 fresh" {
		t.Fatalf("validators %s", names(v))
	}
	n.kill(old[0]) // a quorum now needs the new one's votes
	n.kill(old[3])
	was := n.height(old[1])
	eventually(t, 60*time.Second, "blocks of the three", func() bool { return n.height(old[1]) > was+2 })
	n.restart(old[0])
	n.restart(old[3])
	eventually(t, 30*time.Second, "the killed validator votes again", func() bool { return n.validates(old[0]) })
	seal()

	for i, job := range jobs {
		path := filepath.Join(n.home, "receipt.json")
		if err := os.WriteFile(path, []byte(n.must("receipt", "get", job)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := n.must("--api", "unix:///nowhere", "receipt", "verify", path, "--trust", trust); !strings.Contains(out, "certificate") {
			t.Errorf("receipt %d: %s", i, out)
		}
	}
}
