package native

import "testing"

// TestTracerWaits checks clocks, timers and futexes of the tracer: what they answer at once against the kernel's answers
// to the same calls, and what waits by whom it wakes, when and in which order.
func TestTracerWaits(t *testing.T) {
	runTracerTest(t, "waits", "tracer/time.c", "tracer/timers.c", "tracer/futex.c", "tracer/lock.c")
}
