package api

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxCallers bounds the callers that are remembered; beyond it, those without a request under way are forgotten,
// those with full buckets first.
const maxCallers = 4096

// limiter bounds requests: in all, per caller at once, and per caller and second.
type limiter struct {
	perSecond   rate.Limit
	burst       int
	perCaller   int
	limit       int
	mu          sync.Mutex
	callers     map[Caller]*budget // mu
	total       int                // mu: requests under way
	lastEvicted time.Time          // mu
}

type budget struct {
	rate   *rate.Limiter
	active int
}

func newLimiter(o Options) *limiter {
	return &limiter{
		perSecond: rate.Limit(o.RequestsPerSecond), burst: o.Burst, perCaller: o.CallerRequests,
		limit: o.TotalRequests, callers: make(map[Caller]*budget),
	}
}

// enter lets a request in or says why not. Whoever gets no error calls leave when the request is over.
func (l *limiter) enter(c Caller, now time.Time) *Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.limit {
		e := Unavailable("try again later, or another peer", "the node answers %d requests at once already", l.limit)
		e.RetryAfter = time.Second
		return e
	}
	b := l.callers[c]
	if b == nil {
		if len(l.callers) >= maxCallers {
			l.evict(now)
		}
		if len(l.callers) >= maxCallers {
			return RateLimited(time.Second, "the node serves %d callers already", maxCallers)
		}
		b = &budget{rate: rate.NewLimiter(l.perSecond, l.burst)}
		l.callers[c] = b
	}
	if b.active >= l.perCaller {
		return RateLimited(time.Second, "%s has %d requests under way: that is the limit", c, l.perCaller)
	}
	if c.Kind != CallerUnix && !b.rate.AllowN(now, 1) {
		return RateLimited(time.Second, "%s asks more than %g times a second", c, float64(l.perSecond))
	}
	b.active++
	l.total++
	return nil
}

func (l *limiter) leave(c Caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.callers[c].active--
	l.total--
}

// evict forgets callers that lose nothing by it; if there are none, idle ones whose bucket is not full, at most once a
// second, so that new addresses cannot be used to empty the memory of old ones at will.
func (l *limiter) evict(now time.Time) {
	for c, b := range l.callers {
		if b.active == 0 && b.rate.TokensAt(now) >= float64(l.burst) {
			delete(l.callers, c)
		}
	}
	if len(l.callers) < maxCallers || now.Sub(l.lastEvicted) < time.Second {
		return
	}
	l.lastEvicted = now
	for c, b := range l.callers {
		if b.active == 0 {
			delete(l.callers, c)
		}
		if len(l.callers) <= maxCallers/2 {
			return
		}
	}
}

// guard lets requests through within the limits.
func (h *handler) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callerOf(r)
		control := http.NewResponseController(w)
		meetBody(control, r, h.o.IOTimeout)
		// Deadlines of the connection's last request do not count for this one. What takes longer sets its own before it writes.
		_ = control.SetWriteDeadline(time.Now().Add(h.o.IOTimeout))
		if e := h.limits.enter(c, time.Now()); e != nil {
			w.Header().Set("Connection", "close") // the body stays unread
			h.fail(w, r, e)
			return
		}
		defer h.limits.leave(c)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
