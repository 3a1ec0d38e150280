package mempool

import (
	"fmt"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// Info is what a check tells about a sound transaction.
type Info struct {
	Client    [32]byte // who pays for the room: the key that signed
	ExpiresMs uint64   // Unix milliseconds after which no block may hold it; 0 means never
	Priority  bool     // signed by an admitted node: own lane, no rate
}

// Config bounds a pool. A zero field takes the default named beside it.
type Config struct {
	MaxTxs       int // in the pool: 50000; a quarter is kept for the priority lane
	MaxBytes     int // sum of their lengths: 64 MiB; a quarter is kept for the priority lane
	MaxTxBytes   int // one transaction: 256 KiB
	ClientTxs    int // one client's: MaxTxs/4
	ClientBytes  int // one client's: MaxBytes/4
	MaxClients   int // clients with a remembered rate: 10000
	MaxCommitted int // remembered ids of committed transactions: 200000

	// RatePerClient is tokens a second, one a transaction; Burst is how many may be saved up. 1000 and 2000; a negative
	// rate means no limit.
	RatePerClient float64
	Burst         float64

	// Check says whether tx is sound, without reference to the chain's state. It may be called by many goroutines at
	// once and must not keep tx. Its error is the reason given to the client.
	Check func(tx []byte) (Info, error)

	// Now is the clock of rates and expiry; time.Now if nil.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Check == nil {
		return c, fmt.Errorf("mempool: no check function")
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MaxTxs, 50_000)
	def(&c.MaxBytes, 64<<20)
	def(&c.MaxTxBytes, 256<<10)
	def(&c.ClientTxs, max(1, c.MaxTxs/4))
	def(&c.ClientBytes, max(1, c.MaxBytes/4))
	def(&c.MaxClients, 10_000)
	def(&c.MaxCommitted, 200_000)
	for _, v := range []int{c.MaxTxs, c.MaxBytes, c.MaxTxBytes, c.ClientTxs, c.ClientBytes, c.MaxClients, c.MaxCommitted} {
		if v < 0 {
			return c, fmt.Errorf("mempool: a limit is negative: %d", v)
		}
	}
	if c.RatePerClient == 0 {
		c.RatePerClient = 1000
	}
	if c.Burst == 0 {
		c.Burst = max(1, 2*c.RatePerClient)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// ID is the name by which duplicates are dropped: the hash of every byte of tx, its signature included.
func ID(tx []byte) digest.Digest { return digest.Of(tx) }
