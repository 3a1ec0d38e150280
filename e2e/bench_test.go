package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// figure is one line of the table that `make bench` prints.
type figure struct {
	what, measured, goal string
	ok                   bool
}

// TestBenchNetwork measures four peers on this machine, and prints each figure beside its goal. It never fails for a
// slow machine: what falls short is marked.
func TestBenchNetwork(t *testing.T) {
	if os.Getenv("BPI_BENCH") == "" {
		t.Skip("figures are measured by make bench")
	}
	var table []figure
	add := func(what, goal string, ok bool, format string, args ...any) {
		table = append(table, figure{what, fmt.Sprintf(format, args...), goal, ok})
	}

	var starts []time.Duration
	var n *testnet
	const times = 21
	for i := range times {
		begin := time.Now()
		n = up(t, 4)
		starts = append(starts, time.Since(begin))
		if i < times-1 {
			n.must("devnet", "down")
		}
	}
	add(fmt.Sprintf("devnet of 4 ready, with its processes started (median of %d)", times), "≤ 3 s", median(starts) <= 3*time.Second, "%.2f s", median(starts).Seconds())
	n.users()

	idle(t, n, 30*time.Second, add)

	lone := latencies(t, n, 1, 40, 0)
	add("--fresh COUNT over 1,000 rows, submit → sealed, p50 of 40", "≤ 150 ms", quantile(lone, 50) <= 150*time.Millisecond, "%d ms", quantile(lone, 50).Milliseconds())
	add("the same, p95", "≤ 300 ms", quantile(lone, 95) <= 300*time.Millisecond, "%d ms", quantile(lone, 95).Milliseconds())
	begin := time.Now()
	busy := latencies(t, n, 16, 0, 20*time.Second)
	rate := float64(len(busy)) / time.Since(begin).Seconds()
	add("sealed jobs a second, 16 clients for 20 s", "≥ 30", rate >= 30, "%.1f", rate)
	add("the same: submit → sealed, p50 / p95", "", true, "%d / %d ms", quantile(busy, 50).Milliseconds(), quantile(busy, 95).Milliseconds())

	if info, err := os.Stat(bin(t)); err == nil {
		add("size of bpi", "≤ 60 MB", info.Size() <= 60e6, "%.1f MB", float64(info.Size())/1e6)
	}

	host, _ := exec.Command("uname", "-sr").Output()
	cpu := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.Trim(name, " \t:\n")
			}
		}
	}
	fmt.Printf("\nMachine: %s, %d cores, %s, %s\n\n| figure | measured | goal | |\n|---|---|---|---|\n", cpu, runtime.NumCPU(), strings.TrimSpace(string(host)), runtime.Version())
	for _, f := range table {
		verdict := "ok"
		if !f.ok {
			verdict = "**SHORT**"
		}
		if f.goal == "" {
			verdict = ""
		}
		fmt.Printf("| %s | %s | %s | %s |\n", f.what, f.measured, f.goal, verdict)
	}
}

// latencies runs jobs one after another from each client, count of them or for a time, and gives submit → sealed of each.
func latencies(t *testing.T, n *testnet, clients, count int, lasting time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var wait sync.WaitGroup
	stop := time.Now().Add(lasting)
	for i := range clients {
		wait.Go(func() {
			c := api.NewUnixClient(n.peers[i%len(n.peers)].Socket)
			defer c.Close()
			key, err := sign.Generate(rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			for done := 0; (count > 0 && done < count) || (count == 0 && time.Now().Before(stop)); done++ {
				took, err := one(t, c, key)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(all) == 0 {
		t.Fatal("no job was sealed")
	}
	return all
}

// one submits a fresh job as the command line does, and waits until it is sealed.
func one(t *testing.T, c *api.Client, key sign.PrivateKey) (time.Duration, error) {
	begin := time.Now()
	p, err := c.PlanSQL(t.Context(), api.PlanRequest{SQL: "SELECT COUNT(*) FROM users", Datasets: []string{"users"}, R: 3, Q: 2, Fresh: true})
	if err != nil {
		return 0, err
	}
	s := enc.SubmitJob{R: p.R, Q: p.Q}
	var work receipt.Work
	if err := canon.Unmarshal(p.Work, &work); err != nil {
		return 0, err
	}
	s.Work = work
	body := enc.CommandBody{ChainID: p.Chain.ID, ExpiresMs: p.TimeMs + 600_000, Kind: enc.KindSubmitJob}
	_, _ = rand.Read(s.Salt[:]) // never fails
	_, _ = rand.Read(body.Nonce[:])
	body.Payload = canon.Must(&s)
	cmd := body.Sign(key)
	if _, err := c.SubmitCommand(t.Context(), cmd.Encode()); err != nil {
		return 0, err
	}
	job := enc.JobID(work.Digest(), key.Public(), s.Salt).String()
	var last api.JobEvent
	for {
		err = c.JobEvents(t.Context(), job, func(e *api.JobEvent) error { last = *e; return nil })
		if err == nil && last.Stage == api.JobSealed {
			return time.Since(begin), nil
		}
		if err == nil && last.Ended() {
			return 0, fmt.Errorf("job %s: %s", job, last.Stage)
		}
		if time.Since(begin) > time.Minute {
			return 0, fmt.Errorf("job %s: not ended after a minute: %v", job, err)
		}
	}
}

// idle measures what an idle peer costs: memory after a job load, and processor time.
func idle(t *testing.T, n *testnet, lasting time.Duration, add func(string, string, bool, string, ...any)) {
	t.Helper()
	latencies(t, n, 4, 5, 0)
	before := make([]time.Duration, len(n.peers))
	for i, p := range n.peers {
		before[i] = cpuTime(t, p.pid())
	}
	time.Sleep(lasting) // the measurement itself
	var worst time.Duration
	var rss uint64
	for i, p := range n.peers {
		worst = max(worst, cpuTime(t, p.pid())-before[i])
		rss = max(rss, memory(t, p.pid()))
	}
	share := 100 * worst.Seconds() / lasting.Seconds()
	add("idle peer after jobs: memory (RSS, the largest of 4)", "≤ 80 MB", rss <= 80e6, "%.0f MB", float64(rss)/1e6)
	add("idle peer: processor, the busiest of 4 over 30 s", "≤ 2 % of a core", share <= 2, "%.2f %%", share)
}

// cpuTime is a process's user and system time, in clock ticks of 10 ms.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func memory(t testing.TB, pid int) uint64 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseUint(strings.Fields(v)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func median(l []time.Duration) time.Duration { return quantile(l, 50) }

// quantile is the value that p percent are not above.
func quantile(l []time.Duration, p int) time.Duration {
	s := slices.Clone(l)
	slices.Sort(s)
	return s[min(len(s)-1, len(s)*p/100)]
}
