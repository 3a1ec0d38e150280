package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

// verdicts are how many rows of a table are ok and how many are short.
func verdicts(t measure.Table) (ok, short int) {
	return strings.Count(t.String(), "| ok |"), strings.Count(t.String(), "| **short** |")
}

func wantVerdicts(t *testing.T, what string, table measure.Table, ok, short int) {
	t.Helper()
	if o, s := verdicts(table); o != ok || s != short || table.Short != (short > 0) {
		t.Errorf("%s: %d rows are ok and %d short, want %d and %d:\n%s", what, o, s, ok, short, table)
	}
}

func TestQuantiles(t *testing.T) {
	l := times{5, 1, 4, 2, 3}
	if l.p50() != 3 || l.quantile(0) != 1 || l.quantile(1) != 5 || l.p95() != 5 || (times{}).p50() != 0 {
		t.Errorf("%v %v %v %v", l.p50(), l.quantile(0), l.quantile(1), l.p95())
	}
	if !slices.Equal(l, times{5, 1, 4, 2, 3}) {
		t.Error("the list was sorted in place")
	}
}

func TestTimesAreShownWithTheirUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{1500 * time.Millisecond: "1.50 s", 12340 * time.Microsecond: "12.3 ms", 250 * time.Nanosecond: "0.25 µs", 0: "0"} {
		if got := show(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	if r := rate(50e6, 500*time.Millisecond); r != 100 {
		t.Errorf("50 MB in half a second are %v MB/s", r)
	}
}

func TestJoinTableSplitsTheTime(t *testing.T) {
	quick := joined{answers: 100 * time.Millisecond, connected: 120 * time.Millisecond, knows: 150 * time.Millisecond, served: 190 * time.Millisecond}
	slow := joined{answers: time.Second, connected: 1100 * time.Millisecond, knows: 1300 * time.Millisecond, served: 1400 * time.Millisecond}
	table := joinTable([]joined{quick, quick, slow})
	wantVerdicts(t, "two of three are quick", table, 1, 0)
	for _, want := range []string{"→ first connection | 20.0 ms", "→ it knows a service | 30.0 ms", "→ the service has answered | 40.0 ms", "the slowest | 1.40 s"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	wantVerdicts(t, "two of three are slow", joinTable([]joined{slow, quick, slow}), 0, 1)
}

func TestAPITableHoldsNoiseAgainstTCP(t *testing.T) {
	of := func(one, lot, cpu time.Duration) *way {
		return &way{one: costs{took: times{one}, cpu: cpu}, lot: costs{took: times{lot, lot}, cpu: 2 * cpu}}
	}
	tcp := of(100, 1000, 50)
	wantVerdicts(t, "half as much again", apiTable(tcp, of(150, 1500, 75)), 4, 0)
	wantVerdicts(t, "latency of one", apiTable(tcp, of(151, 1500, 75)), 3, 1)
	wantVerdicts(t, "latency of many", apiTable(tcp, of(150, 1501, 75)), 3, 1)
	wantVerdicts(t, "processor", apiTable(tcp, of(150, 1500, 76)), 2, 2)
	if (costs{}).perRequest() != 0 {
		t.Error("no request costs something")
	}
}

func TestBlobTableHasTheRatios(t *testing.T) {
	f := fetches{bytes: 100e6, raw: times{time.Second}, one: times{2 * time.Second}, three: times{2 * time.Second}, kubo: times{4 * time.Second}, kuboOwn: times{3 * time.Second}}
	wantVerdicts(t, "just enough", blobTable(f), 3, 0)
	worse := f
	worse.three = times{2100 * time.Millisecond}
	wantVerdicts(t, "three are slower than one", blobTable(worse), 2, 1)
	worse = f
	worse.kuboOwn = times{2900 * time.Millisecond}
	wantVerdicts(t, "kubo is faster one way", blobTable(worse), 2, 1)
	worse = f
	worse.raw = times{900 * time.Millisecond}
	wantVerdicts(t, "the raw stream is faster", blobTable(worse), 2, 1)
	f.noKubo = "no program"
	table := blobTable(f)
	wantVerdicts(t, "without kubo", table, 2, 1)
	if !strings.Contains(table.String(), "| kubo to kubo | no program |") {
		t.Errorf("the table does not say why:\n%s", table)
	}
}

func TestMemoryTableCountsAConnection(t *testing.T) {
	table := memoryTable(footprint{resident: 60}, footprint{resident: 80}, 100, times{1})
	wantVerdicts(t, "80 MB", table, 1, 0)
	if !strings.Contains(table.String(), "| a connection |  | 200 kB |") {
		t.Errorf("20 MB more for 100 are 200 kB each:\n%s", table)
	}
	wantVerdicts(t, "101 MB", memoryTable(footprint{resident: 60}, footprint{resident: 101}, 100, times{1}), 0, 1)
}

func TestAccountsAreReadFromAHeapProfile(t *testing.T) {
	profile := []byte("heap profile: 1: 2 [3: 4]\n\n# runtime.MemStats\n# HeapInuse = 9535488\n# Stack = 1212416 / 1245184\n")
	if v, err := account(profile, "HeapInuse"); err != nil || v != 9.535488 {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := account(profile, "Stack"); err != nil || v != 1.212416 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := account(profile, "Other"); err == nil {
		t.Error("an account that is not there was read")
	}
}

func TestRegistryTableIsReadFromTheSimulation(t *testing.T) {
	const out = `=== RUN   TestX
=== ATTR  TestX converged 940ms
=== ATTR  TestX changed 55ms
    x_test.go:1: changed: 55ms
=== ATTR  TestX warm-p50 0s
=== ATTR  TestX cold-p50 55ms
=== ATTR  TestX records-p50 105ms
=== ATTR  TestX records-p90 105ms
=== ATTR  TestX values-p50 155ms
=== ATTR  TestX values-p90 160ms
=== ATTR  TestX forgotten 5m29.85s
`
	found, err := attributes(out)
	if err != nil || len(found) != 9 {
		t.Fatalf("%v, %v", found, err)
	}
	table, err := registryTable(found, 64)
	if err != nil {
		t.Fatal(err)
	}
	wantVerdicts(t, "one is short", table, 5, 1)
	delete(found, "changed")
	if _, err := registryTable(found, 64); err == nil {
		t.Error("a figure is missing and the table was made")
	}
	if _, err := attributes("=== ATTR  TestX changed soon\n"); err == nil {
		t.Error("a time that is none was read")
	}
}

func TestPlanComesFromTheEnvironment(t *testing.T) {
	whole := planFrom(func(string) string { return "" })
	quick := planFrom(func(k string) string { return map[string]string{"BENCH_QUICK": "1"}[k] })
	if whole.joins < 10 || whole.simulated != 64 || !slices.Equal(whole.blobs, []int{64, 256}) {
		t.Errorf("%+v", whole)
	}
	if quick.joins >= whole.joins || quick.simulated >= whole.simulated {
		t.Errorf("%+v", quick)
	}
	if whole.requests > 2000 || quick.requests > 2000 {
		t.Error("a round is over the burst that a node allows one caller")
	}
}
