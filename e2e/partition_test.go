package e2e

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// parted is a chain of four validators and two peers that follow it, with a second switch to move wires to.
type parted struct {
	*testnet
	wires *wires
	other *ether

	mu      sync.Mutex
	nonce   uint64 // mu
	nothing func(nonce uint64) []byte
}

func newParted(t *testing.T) *parted {
	t.Helper()
	bin(t)
	w, err := needGround(t).lay(netip.MustParsePrefix("10.77.0.0/24"), 6)
	if err != nil {
		t.Fatal(err)
	}
	p := &parted{wires: w}
	if p.other, err = w.hub.ground.ether(w.hub.space, "other"); err != nil {
		t.Fatal(err)
	}
	p.testnet = w.founders(4)
	for i, name := range []string{"here", "there"} {
		p.follower(name, w.list[4+i], w.bootstrapAddress(p.testnet, 0), w.bootstrapAddress(p.testnet, 3))
	}
	for _, x := range p.peers {
		p.ready(x)
	}
	p.nothing = cancelling(t, p.client(p.peers[0]))
	if out := p.must("--json", "node", "status"); !strings.Contains(out, `"executor"`) {
		t.Skipf("this machine gives no cage: %s", out)
	}
	p.users()
	return p
}

// ordered reports which of some peers order a command in time, each one of its own.
func (p *parted) ordered(within time.Duration, at ...int) []string {
	p.t.Helper()
	var names []string
	var all sync.WaitGroup
	for _, i := range at {
		all.Go(func() {
			p.mu.Lock()
			p.nonce++
			tx := p.nothing(p.nonce)
			p.mu.Unlock()
			if p.orders(p.peers[i], tx, within) {
				p.mu.Lock()
				defer p.mu.Unlock()
				names = append(names, p.peers[i].Name)
			}
		})
	}
	all.Wait()
	return names
}

// move takes peers to the other switch, and gives what brings them back.
func (p *parted) move(peers ...int) (heal func()) {
	p.t.Helper()
	for _, i := range peers {
		p.wires.list[i].move(p.other)
	}
	return func() {
		p.t.Helper()
		for _, i := range peers {
			p.wires.list[i].move(p.wires.hub)
		}
	}
}

// query submits a job at a peer and gives its id. Where nothing is ordered the peer keeps it.
func (p *parted) query(at *peer) string {
	p.t.Helper()
	return p.at(at, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", "SELECT COUNT(*) AS c FROM users")
}

// heights are the peers' last final blocks.
func (p *parted) heights() []uint64 {
	var list []uint64
	for _, x := range p.peers {
		list = append(list, p.height(x))
	}
	return list
}

// agree waits until each job is sealed for every peer, and demands that no two of them hold different receipts of one job
// or different blocks of one height.
func (p *parted) agree(within time.Duration, jobs ...string) {
	p.t.Helper()
	for _, job := range jobs {
		for _, x := range p.peers {
			if j := p.ended(x, job, within); j.State != api.JobSealed {
				p.t.Errorf("%s: job %s is %s: %s", x.Name, job, j.State, j.Reason)
				continue
			}
		}
		var first []byte
		for _, x := range p.peers {
			r, err := p.client(x).Receipt(p.t.Context(), job)
			if err != nil {
				p.t.Errorf("%s: receipt of %s: %v", x.Name, job, err)
				continue
			}
			if first == nil {
				first = r.Envelope.Payload
			}
			if !bytes.Equal(first, r.Envelope.Payload) {
				p.t.Errorf("%s has another receipt of job %s", x.Name, job)
			}
		}
		p.must("receipt", "verify", "--job-id", job)
	}
	top := p.height(p.peers[0])
	for _, x := range p.peers {
		p.reaches(x, top)
	}
	for h := uint64(1); h <= top; h++ {
		var first digest.Digest
		for i, x := range p.peers {
			b, err := p.client(x).Block(p.t.Context(), h)
			if err != nil {
				p.t.Fatalf("%s: block %d: %v", x.Name, h, err)
			}
			if i == 0 {
				first = b.ID
			}
			if b.ID != first {
				p.t.Fatalf("%s has block %s at height %d, %s has %s", x.Name, b.ID.Short(), h, p.peers[0].Name, first.Short())
			}
		}
	}
}

// TestPartedNetwork parts four validators, each part with a peer that follows. Of two and two neither makes a block, work
// that is handed in waits, and is done when they are one again. Of three and one the three go on, and the one has what it
// missed when it is back. No two peers ever hold different receipts of a job, or different blocks of a height.
func TestPartedNetwork(t *testing.T) {
	p := newParted(t)
	jobs := []string{p.query(p.peers[0])}
	if j := p.ended(p.peers[5], jobs[0], 30*time.Second); j.State != api.JobSealed {
		t.Fatalf("the job is %s before the split: %s", j.State, j.Reason)
	}
	heal := p.move(2, 3, 5)
	// What was under way when the wires moved has ended after the first try.
	if who := p.ordered(3*time.Second, 0, 3); who != nil {
		t.Errorf("%v order a command with half of the validators", who)
	}
	was := p.heights()
	jobs = append(jobs, p.query(p.peers[4]), p.query(p.peers[5]))
	if who := p.ordered(3*time.Second, 0, 3); who != nil {
		t.Errorf("%v order a command with half of the validators", who)
	}
	for i, h := range p.heights() {
		if h != was[i] {
			t.Errorf("%s went from block %d to %d without a quorum", p.peers[i].Name, was[i], h)
		}
	}
	heal()
	if who := p.ordered(40*time.Second, 0, 3); len(who) != 2 {
		t.Fatalf("with the halves joined again %v order a command; want one of each half", who)
	}
	p.agree(40*time.Second, jobs...)

	heal = p.move(3, 5)
	if who := p.ordered(3*time.Second, 3); who != nil {
		t.Errorf("%v orders a command as one of four validators", who)
	}
	was = p.heights()
	jobs = []string{p.query(p.peers[4]), p.query(p.peers[0])}
	for _, job := range jobs {
		if j := p.ended(p.peers[4], job, 40*time.Second); j.State != api.JobSealed {
			t.Errorf("with three of four validators a job is %s: %s", j.State, j.Reason)
		}
	}
	now := p.heights()
	for i := range p.peers {
		if alone := i == 3 || i == 5; alone && now[i] != was[i] || !alone && now[i] <= was[i] {
			t.Errorf("%s went from block %d to %d", p.peers[i].Name, was[i], now[i])
		}
	}
	heal()
	p.reaches(p.peers[3], now[0])
	p.reaches(p.peers[5], now[0])
	p.agree(40*time.Second, jobs...)
}
