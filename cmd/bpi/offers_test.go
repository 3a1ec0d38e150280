package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

var testEngine = digest.Of([]byte("engine"))

// offering is an executor that takes SQL jobs; each has an operator of its own.
func offering(i byte) api.Executor {
	return api.Executor{
		Peer: "12D3KooW" + string('a'+rune(i)), Key: sign.PublicKey{i + 1}, Operator: sign.PublicKey{i + 1, 9}, Name: "node" + string('1'+rune(i)),
		Registered: true, Engines: []digest.Digest{testEngine}, Policies: []digest.Digest{cage.Sealed().Digest()}, CPUClass: analytics.CPUClass,
		Slots: 4, Memory: 8 << 30, Labels: []string{},
	}
}

// planOf is what a node prepares for a query without data sets.
func planOf(t *testing.T, sql string, r, q uint32) api.Plan {
	t.Helper()
	w, err := analytics.Job(analytics.JobSpec{Engine: testEngine, Policy: cage.Sealed().Digest(), SQL: sql})
	if err != nil {
		t.Fatal(err)
	}
	return api.Plan{Work: canon.Must(w), WorkDigest: w.Digest(), R: r, Q: q, Datasets: []api.ResolvedDataset{}, TimeMs: 1}
}

// meshOf is a node with the SQL engine and these executors.
func meshOf(t *testing.T, executors []api.Executor, plan any) string {
	return fakeNode(t, map[string]any{
		"GET /v1/status": api.Status{
			Peer: "12D3KooWa", Key: sign.PublicKey{1}, Name: "node1", Addresses: []string{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWa", "/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooWa", "/ip4/192.0.2.7/tcp/1/p2p/12D3KooWa"}, Roles: []string{"validator", "executor"},
			Chain: api.Chain{Name: "test-1"}, Engine: &api.EngineStatus{Digest: testEngine, Bytes: 100, Present: true}, Ready: true,
			Walls: []api.Wall{{Name: "seccomp", OK: true}, {Name: "net namespace"}}, Gateway: "127.0.0.1:3000",
		},
		"GET /v1/chain/executors": executors,
		"GET /v1/chain":           api.ChainStatus{Chain: api.Chain{Name: "test-1"}},
		"GET /v1/peers":           []api.Peer{{ID: "12D3KooWb", Key: sign.PublicKey{2}, Name: "node2", Addresses: []string{"/ip4/127.0.0.1/tcp/2"}, Roles: []string{"validator"}}},
		"POST /v1/sql/plan":       plan,
	})
}

func TestContainerStartSaysWhatIsEnforced(t *testing.T) {
	url := meshOf(t, []api.Executor{offering(0), offering(1)}, planOf(t, "SELECT 1", 2, 2))
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "container", "start", "--name", "metaanalytics", "--policy", "strict-determinism")
	for _, want := range []string{"policy asked     strict-determinism", "policy enforced  sealed", "not enforced", "1 of 2 given", "2 of 2 ready", "ran once"} {
		if !strings.Contains(out, want) {
			t.Errorf("standard output lacks %q:\n%s", want, out)
		}
	}
	if code != 0 || !strings.Contains(errs, "metaanalytics runs under sealed, whatever is asked for") || !strings.Contains(errs, "bpi container run") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if _, _, errs = bpi(t, t.TempDir(), "--api", url, "container", "start", "--name", "metaanalytics"); strings.Contains(errs, "whatever is asked for") {
		t.Errorf("sealed was asked for and is excused: %q", errs)
	}
	var v struct {
		Asked    string `json:"asked_policy"`
		Enforced string `json:"enforced_policy"`
		Ran      bool   `json:"ran_here"`
	}
	_, out, _ = bpi(t, t.TempDir(), "--api", url, "--json", "container", "start", "--name", "metaanalytics", "--policy", "strict-determinism")
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Asked != "strict-determinism" || v.Enforced != "sealed" || !v.Ran {
		t.Errorf("--json: %+v, %v", v, err)
	}
}

func TestContainerThatNobodyCanRunIsNotReady(t *testing.T) {
	x := offering(0)
	x.Slots, x.Reason = 0, "no user namespace"
	url := meshOf(t, []api.Executor{x}, planOf(t, "SELECT 1", 1, 1))
	code, _, errs := bpi(t, t.TempDir(), "--api", url, "container", "start", "--name", "metaanalytics")
	if code != exitTimeout || !strings.Contains(errs, "no user namespace") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if code, out, _ := bpi(t, t.TempDir(), "--api", url, "container", "list"); code != 0 || !strings.Contains(out, "0 of 1 ready") {
		t.Errorf("list: exit code %d, %q", code, out)
	}
}

func TestContainerWhoseEngineDoesNotRunIsAnError(t *testing.T) {
	url := meshOf(t, []api.Executor{offering(0)}, api.Unavailable("see: bpi doctor", "the cage does not start"))
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "container", "start", "--name", "metaanalytics")
	if code != exitFailure || out != "" || !strings.Contains(errs, "the cage does not start") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

func TestJobPlanSaysWhoCould(t *testing.T) {
	busy, draining, same := offering(1), offering(2), offering(3)
	busy.UsedSlots = 4
	draining.Draining = true
	same.Operator = offering(0).Operator
	all := []api.Executor{offering(0), busy, draining, same}
	url := meshOf(t, all, planOf(t, "SELECT 1", 1, 1))
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "job", "plan", "SELECT 1")
	if code != 0 || strings.Count(out, " yes") != 2 || !strings.Contains(out, "no: busy") || !strings.Contains(out, "no: is draining") || !strings.Contains(errs, "nothing was ordered") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	// Two peers of one operator serve a job as one.
	url = meshOf(t, all, planOf(t, "SELECT 1", 2, 2))
	code, out, errs = bpi(t, t.TempDir(), "--api", url, "--json", "job", "plan", "SELECT 1")
	var v struct {
		Placeable bool `json:"placeable"`
		Executors []able
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitTimeout || v.Placeable || len(v.Executors) != 4 || !strings.Contains(errs, "wants 2 operators") {
		t.Errorf("exit code %d, %+v, %v, %q", code, v, err, errs)
	}
}

func TestPolicyCheckAsksThisMachineAndTheExecutors(t *testing.T) {
	x := offering(1)
	x.Policies = nil
	url := meshOf(t, []api.Executor{offering(0), x}, nil)
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "policy", "check", "sealed")
	// The machine of the test may lack a wall: then the code says so.
	if strings.Contains(out, "FAILED") != (code == exitFailure) || !strings.Contains(out, "wall: seccomp") || !strings.Contains(out, "node1") || !strings.Contains(out, "does not offer sealed") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = bpi(t, t.TempDir(), "--api", url, "policy", "check", "strict-determinism")
	if strings.Contains(out, "FAILED") != (code == exitFailure) || strings.Count(out, "does not offer strict-determinism") != 2 {
		t.Errorf("a policy that no executor offers: exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := bpi(t, t.TempDir(), "policy", "check", "nosuch"); code != exitFailure || !strings.Contains(errs, "bpi policy list") {
		t.Errorf("no policy: exit code %d, %q", code, errs)
	}
}

func TestNetworkPing(t *testing.T) {
	url := meshOf(t, []api.Executor{offering(0), offering(1)}, nil)
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "network", "ping", "--count", "3")
	if code != 0 || strings.Count(out, " ms\n") != 3 || !strings.Contains(errs, "3 answers") {
		t.Errorf("ping: exit code %d, %q, %q", code, out, errs)
	}
	if code, _, errs = bpi(t, t.TempDir(), "--api", url, "network", "ping", "nosuch"); code != exitFailure || !strings.Contains(errs, "bpi network peers") {
		t.Errorf("ping of a stranger: exit code %d, %q", code, errs)
	}
}
