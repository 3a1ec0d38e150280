package mempool

import "time"

// bucket is a client's saved tokens at a time.
type bucket struct {
	tokens float64
	at     time.Time
}

// rates is a token bucket a client. It is not safe for concurrent use; the pool's lock guards it.
//
// The table is bounded by Config.MaxClients. When it is full, buckets that have filled up again are forgotten, which
// changes nothing for their clients; if none has, the newcomer shares one bucket with all other newcomers, so that
// drawing fresh keys does not buy rate.
type rates struct {
	rate, burst float64
	limit       int
	byClient    map[[32]byte]*bucket
	strangers   bucket
}

func newRates(c Config) *rates {
	return &rates{rate: c.RatePerClient, burst: c.Burst, limit: c.MaxClients, byClient: map[[32]byte]*bucket{}, strangers: bucket{tokens: c.Burst}}
}

// take spends one token of client's and reports whether there was one.
func (r *rates) take(client [32]byte, now time.Time) bool {
	if r.rate < 0 {
		return true
	}
	b := r.byClient[client]
	if b == nil {
		if len(r.byClient) >= r.limit {
			r.forgetFull(now)
		}
		if len(r.byClient) >= r.limit {
			b = &r.strangers
		} else {
			b = &bucket{tokens: r.burst, at: now}
			r.byClient[client] = b
		}
	}
	r.fill(b, now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (r *rates) fill(b *bucket, now time.Time) {
	if b.at.IsZero() {
		b.at = now
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(r.burst, b.tokens+d.Seconds()*r.rate)
		b.at = now
	}
}

// forgetFull drops the buckets that are full again. It looks at no more than 64, so that a full table costs a stranger's
// transaction little; the map's order makes them other ones each time.
func (r *rates) forgetFull(now time.Time) {
	n := 0
	for k, b := range r.byClient {
		if r.fill(b, now); b.tokens >= r.burst {
			delete(r.byClient, k)
		}
		if n++; n >= 64 {
			return
		}
	}
}
