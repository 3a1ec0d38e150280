package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// TestNetworkOutlivesItsBootstrapPeer kills the one peer that everybody joined by: the others go on, one of them that is
// started again finds its way by the peers that it has saved, and a newcomer that knows the dead address alone is told what
// to do, and joins by any other.
func TestNetworkOutlivesItsBootstrapPeer(t *testing.T) {
	bin(t)
	w, err := needGround(t).lay(netip.MustParsePrefix("10.77.0.0/24"), 5)
	if err != nil {
		t.Fatal(err)
	}
	n := w.founders(4)
	n.users()
	dead, alive := w.bootstrapAddress(n, 0), w.bootstrapAddress(n, 3)
	one, again := n.peers[1], n.peers[2]
	n.kill(n.peers[0])
	sealed := func(what string) {
		t.Helper()
		job := n.at(one, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
		if j := n.ended(one, job, 60*time.Second); j.State != api.JobSealed {
			t.Errorf("%s a job is %s: %s", what, j.State, j.Reason)
		}
	}
	sealed("with the bootstrap peer dead")

	n.kill(again)
	n.restart(again) // of four validators three are left: without this one nothing is sealed
	sealed("after a restart without a bootstrap peer")
	if s := n.status(again); s.Peers < 2 {
		t.Errorf("the peer that was started again has %d peers", s.Peers)
	}
	n.says(again, []string{"bootstrap            warning  " + dead, "peers                ok"}, "network", "doctor")

	stranger := &peer{Name: "stranger", Dir: n.folder("stranger"), space: w.list[4].space}
	if r := n.inside(stranger, "init", "--bootstrap", dead); r.code != 1 || !strings.Contains(r.stderr, "no bootstrap peer gave its genesis document") || !strings.Contains(r.stderr, "--genesis") {
		t.Errorf("init by a dead peer: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	newcomer := n.prepare("newcomer", w.list[4], filepath.Join(n.home, "genesis.cbor"), []string{dead})
	n.start(newcomer)
	eventually(t, 20*time.Second, "the newcomer says whom it does not reach, and what to do", func() bool {
		r := n.inside(newcomer, "network", "doctor")
		return r.code == 1 && strings.Contains(r.stdout, "bootstrap            warning  "+dead+" refused the connection") && strings.Contains(r.stdout, "is that peer running, and its address right?") &&
			strings.Contains(r.stdout, "none of those to join by answers; name another peer of the network under bootstrap in [p2p]")
	})
	n.kill(newcomer)
	newcomer.set(t, "bootstrap", fmt.Sprintf("[%q]", alive))
	n.restart(newcomer)
	n.reaches(newcomer, n.height(one))
}
