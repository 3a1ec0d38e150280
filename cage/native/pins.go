package native

import (
	"sync"

	"golang.org/x/sys/unix"
)

// pins chooses the processor of each run. A tracer and its program take turns, so they share one: passing the turn
// within a processor costs a fraction of passing it to another. The node reads events meanwhile on the others.
type pins struct {
	all  unix.CPUSet
	list []int

	mu   sync.Mutex
	runs []int // in flight, by index in list
	next int
}

func newPins() *pins {
	p := &pins{}
	if err := unix.SchedGetaffinity(0, &p.all); err != nil {
		return p // nothing is pinned
	}
	for cpu, left := 0, p.all.Count(); left > 0; cpu++ {
		if p.all.IsSet(cpu) {
			p.list = append(p.list, cpu)
			left--
		}
	}
	p.runs = make([]int, len(p.list))
	return p
}

// take gives the processor with the fewest runs, in turn among equals, and what to call when the run has ended.
func (p *pins) take() (cpu uint32, free func()) {
	if len(p.list) == 0 {
		return tracerNoCPU, func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	best := p.next % len(p.list)
	for i := range p.list {
		if at := (p.next + i) % len(p.list); p.runs[at] < p.runs[best] {
			best = at
		}
	}
	p.next = best + 1
	p.runs[best]++
	return uint32(p.list[best]), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.runs[best]--
	}
}

// avoid keeps the calling thread, which is locked to its goroutine, off a run's processor where there is another one,
// until the function that it gives is called.
func (p *pins) avoid(cpu uint32) func() {
	others := p.all
	others.Clear(int(cpu))
	if len(p.list) < 2 || cpu == tracerNoCPU || unix.SchedSetaffinity(0, &others) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetaffinity(0, &p.all) } // it was allowed before
}
