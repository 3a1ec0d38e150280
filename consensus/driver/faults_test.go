package driver_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

// faults lose and delay what the network carries.
type faults struct {
	drop    func(to *testNode, p packet) bool // nil: by loss
	request atomic.Value                      // of func(from, to sign.PublicKey, kind driver.Kind) bool; nil: all are answered
	late    func(p packet) time.Duration      // nil: by chance
	delay   time.Duration                     // at most

	mu   sync.Mutex // guards what follows
	rng  *rand.Rand
	loss float64
}

// noisy loses a share of all messages and delays the rest by up to a time.
func noisy(seed uint64, loss float64, delay time.Duration) *faults {
	return &faults{rng: rand.New(rand.NewPCG(seed, 0)), loss: loss, delay: delay}
}

func (f *faults) carry(to *testNode, p packet, put func() bool) bool {
	if f.drop != nil {
		return f.drop(to, p) || put()
	}
	if f.late != nil {
		if d := f.late(p); d > 0 {
			time.AfterFunc(d, func() { put() })
			return true
		}
		return put()
	}
	f.mu.Lock()
	lost, late := f.rng.Float64() < f.loss, time.Duration(f.rng.Int64N(int64(f.delay)+1))
	f.mu.Unlock()
	switch {
	case lost:
	case late > 0:
		time.AfterFunc(late, func() { put() })
	default:
		return put()
	}
	return true // the sender does not hear of it
}

// answers reports whether a request reaches whom it is for.
func (f *faults) answers(from, to sign.PublicKey, kind driver.Kind) bool {
	ok, set := f.request.Load().(func(from, to sign.PublicKey, kind driver.Kind) bool)
	return !set || ok(from, to, kind)
}

// calm ends loss and delay.
func (f *faults) calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loss, f.delay = 0, 0
}
