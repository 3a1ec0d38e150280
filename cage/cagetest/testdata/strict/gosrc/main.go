// Command gosrc is the suite's program in Go: its runtime makes threads of its own, draws random numbers for maps and
// select, and collects garbage by the clock. It prints what it sees; argv[1] says what to look at.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"math"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// want notes that something made no sense, and goes on.
func want(ok bool, format string, args ...any) {
	if !ok {
		fmt.Printf("NOT SENSIBLE: "+format+"\n", args...)
		senseless.Store(true)
	}
}

var senseless atomic.Bool

func main() {
	looks := map[string]func(){
		"goroutines": goroutines, "select": selects, "maps": maps, "gc": collect, "time": times, "exec": execs, "random": random, "child": func() {},
	}
	if len(os.Args) < 2 || looks[os.Args[1]] == nil {
		os.Exit(9)
	}
	looks[os.Args[1]]()
	if senseless.Load() {
		os.Exit(1)
	}
}

func sum(b []byte) string {
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%016x", h.Sum64())
}

// spin keeps a processor for a while.
func spin(n int) (x uint64) {
	for i := range n {
		x = x*31 + uint64(i)
	}
	return x
}

var sink atomic.Uint64

func goroutines() {
	runtime.GOMAXPROCS(4)
	fmt.Println("processors", runtime.NumCPU(), "maximum", runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	var order []byte
	var wg sync.WaitGroup
	racy, sure := 0, atomic.Int64{}
	for g := range 20 {
		wg.Go(func() {
			for i := range 50 {
				c := racy
				sink.Add(spin(200 * (i%7 + 1)))
				if i%5 == 0 {
					runtime.Gosched()
				}
				racy = c + 1
				sure.Add(1)
				mu.Lock()
				order = append(order, byte('a'+g))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Println("racy", racy, "sure", sure.Load(), "order", string(order[:100]), sum(order))
	want(sure.Load() == 1000 && len(order) == 1000, "%d turns of 1000", sure.Load())

	// A ring that a number is passed around in, and workers that share a queue without a buffer.
	const n = 100
	first := make(chan int)
	in := first
	for range n {
		from, to := in, make(chan int)
		go func() { to <- <-from + 1 }()
		in = to
	}
	go func() { first <- 0 }()
	got := <-in
	want(got == n, "the ring gives %d", got)
	work, done := make(chan int), make(chan string, 200)
	for w := range 5 {
		go func() {
			for i := range work {
				sink.Add(spin(i * 50))
				done <- fmt.Sprint(w, ":", i)
			}
		}()
	}
	for i := range 200 {
		work <- i
	}
	close(work)
	var all []string
	for range 200 {
		all = append(all, <-done)
	}
	fmt.Println("workers", all[:20], sum([]byte(strings.Join(all, " "))))
	// Threads that are locked to goroutines and blocked in the kernel.
	r, w, err := os.Pipe()
	want(err == nil, "pipe: %v", err)
	var ids []int
	for range 5 {
		wg.Go(func() {
			runtime.LockOSThread()
			time.Sleep(time.Millisecond)
			mu.Lock()
			ids = append(ids, syscall.Gettid())
			mu.Unlock()
			w.Write([]byte{1})
		})
	}
	b := make([]byte, 1)
	for range 5 {
		_, err := r.Read(b)
		want(err == nil, "read: %v", err)
	}
	wg.Wait()
	fmt.Println("threads", ids)
}

func selects() {
	a, b, c := make(chan int, 1000), make(chan int, 1000), make(chan int, 1000)
	for i := range 1000 {
		a <- i
		b <- i
		c <- i
	}
	var order []byte
	counts := map[byte]int{}
	for range 900 {
		which := byte('a')
		select {
		case <-a:
		case <-b:
			which = 'b'
		case <-c:
			which = 'c'
		}
		counts[which]++
		order = append(order, which)
	}
	fmt.Println("order", string(order[:80]), sum(order))
	for _, k := range []byte("abc") {
		want(counts[k] > 200, "of 900 choices %d fell on %c", counts[k], k)
	}
	start := time.Now()
	select {
	case <-make(chan int):
	case <-time.After(30 * time.Millisecond):
	}
	d := time.Since(start)
	fmt.Println("timeout", d)
	want(d >= 30*time.Millisecond && d < 10*time.Second, "a wait of 30ms took %v", d)
}

func maps() {
	m := map[string]int{}
	for i := range 300 {
		m[fmt.Sprint("key", i)] = i
	}
	orders := map[string]bool{}
	for range 5 {
		var keys []string
		for k := range m {
			keys = append(keys, k)
		}
		want(len(keys) == 300, "%d keys", len(keys))
		line := strings.Join(keys, " ")
		fmt.Println(line[:60], sum([]byte(line)))
		orders[line] = true
	}
	want(len(orders) > 1, "five walks over a map had one order")
	p := map[*int]int{}
	for i := range 100 {
		p[new(int)] = i
	}
	var walk []int
	for _, v := range p {
		walk = append(walk, v)
	}
	fmt.Println("pointers", walk)
	sort.Ints(walk)
	want(walk[0] == 0 && walk[99] == 99, "the map lost a member")
	local := 0
	fmt.Printf("heap %p stack %p code %p\n", new(int), &local, maps)
}

func collect() {
	debug.SetGCPercent(20)
	var kept [][]byte
	for i := range 3000 {
		b := make([]byte, 1000+i%5000)
		b[0] = byte(i)
		if i%50 == 0 {
			kept = append(kept, b)
		}
	}
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	fmt.Println("kept", len(kept), "collections", s.NumGC, "blocks", s.Mallocs, s.Frees, "bytes", s.HeapAlloc, s.Sys, "pauses", s.PauseTotalNs)
	want(s.NumGC > 3 && s.Mallocs > 3000, "%d collections of %d blocks", s.NumGC, s.Mallocs)
	for i, b := range kept {
		want(b[0] == byte(i*50), "block %d holds %d", i, b[0])
	}
	finished := make(chan int, 1)
	func() {
		x := &struct{ b [100]int }{}
		runtime.SetFinalizer(x, func(any) { finished <- 1 })
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-finished:
			fmt.Println("finalised")
			return
		case <-time.After(time.Millisecond):
		}
	}
	want(false, "a finaliser never ran")
}

func times() {
	start := time.Now()
	fmt.Println("now", start.UnixNano(), start.Location(), start.Format(time.RFC3339Nano))
	want(start.Year() >= 2001, "the year is %d", start.Year())
	var order []int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range []int{7, 2, 9, 5, 1, 8, 3, 6, 4} {
		wg.Go(func() {
			time.Sleep(time.Duration(n) * 10 * time.Millisecond)
			mu.Lock()
			order = append(order, n)
			mu.Unlock()
		})
	}
	wg.Wait()
	fmt.Println("slept", order, time.Since(start))
	want(sort.IntsAreSorted(order) && time.Since(start) >= 90*time.Millisecond, "sleepers woke as %v", order)
	tick := time.NewTicker(5 * time.Millisecond)
	for range 5 {
		fmt.Println("tick", (<-tick.C).Sub(start))
	}
	tick.Stop()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	want(syscall.Kill(syscall.Getpid(), syscall.SIGUSR1) == nil, "kill")
	fmt.Println("signal", <-c)
	var ru syscall.Rusage
	want(syscall.Getrusage(0, &ru) == nil, "getrusage")
	fmt.Println("used", ru.Utime.Nano(), ru.Stime.Nano())
}

func execs() {
	self, err := os.Executable()
	want(err == nil, "executable: %v", err)
	host, err := os.Hostname()
	fmt.Println(self, host, err, os.Getpid(), os.Getppid())
	for i := range 3 {
		cmd := exec.Command(self, "random")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		fmt.Println("child", i, err, sum(out.Bytes()))
		want(err == nil, "a child: %v %s", err, out.Bytes())
	}
	out, err := exec.Command("sh", "-c", "echo shell; echo error >&2; exit 3").CombinedOutput()
	fmt.Printf("%q %v\n", out, err)
	cmd := exec.Command(self, "nothing")
	err = cmd.Run()
	want(cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 9, "exit code: %v", err)
	_, err = exec.LookPath("no-such-program")
	fmt.Println(err)
}

func random() {
	b := make([]byte, 5000)
	n, err := rand.Read(b)
	want(n == 5000 && err == nil, "rand: %v", err)
	fmt.Printf("%x %s\n", b[:16], sum(b))
	fmt.Println(mrand.IntN(1000000), mrand.Float64(), mrand.Perm(10))
	fmt.Println(math.Float64bits(math.Exp(0.7)*math.Sin(0.7)), math.Float64bits(math.FMA(1.1, 2.2, 3.3)), math.Float64bits(math.Pow(2.5, 1.7)))
	f, err := os.CreateTemp("", "strict-*")
	want(err == nil, "temporary file: %v", err)
	if err == nil {
		fmt.Println(f.Name())
		f.Close()
		os.Remove(f.Name())
	}
}
