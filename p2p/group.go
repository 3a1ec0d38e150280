package p2p

import "sync"

// group counts what a Host has running, so that Close can wait for it. Unlike a WaitGroup it refuses newcomers once it
// is closed: libp2p may start a stream handler at any moment.
type group struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed and n == 0
}

func newGroup() *group { return &group{idle: make(chan struct{})} }

// enter reports whether one more may run; whoever gets true calls leave.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.closed && g.n == 0 {
		close(g.idle)
	}
}

// spawn runs f in a goroutine of the group; false when the group is closed.
func (g *group) spawn(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.leave()
		f()
	}()
	return true
}

// close refuses newcomers; true for the first caller.
func (g *group) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	if g.n == 0 {
		close(g.idle)
	}
	return true
}

// wait blocks until the group is closed and everyone has left.
func (g *group) wait() { <-g.idle }
