package p2p

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/sign"
)

const (
	clockProto = "clock/1"
	clockPeers = 16 // peers asked at once
)

// ErrNoClocks means that no peer told its time.
var ErrNoClocks = errors.New("no peer told its time")

// serveClock answers an empty request with the wall clock, nanoseconds since 1970, 8 bytes big-endian.
func (p *Host) serveClock() {
	p.Handle(clockProto, Limits{RequestBytes: 16, ResponseBytes: 8, PerPeer: 2, PerSecond: 5, Timeout: 2 * time.Second},
		func(context.Context, sign.PublicKey, []byte) ([]byte, error) {
			return binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano())), nil
		})
}

// ClockOffset estimates how far the peers' clocks are ahead of this machine's: the median over at most 16 peers, and
// how many answered. It is a hint for people, never an input of the protocol: peers may lie.
func (p *Host) ClockOffset(ctx context.Context) (time.Duration, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var mu sync.Mutex
	var offsets []time.Duration
	var wg sync.WaitGroup
	peers := p.Peers()
	for _, peer := range peers[:min(len(peers), clockPeers)] {
		wg.Go(func() {
			var best, bestTrip time.Duration
			for i := range 2 { // the first may pay for opening the stream
				t0 := time.Now()
				b, err := p.Call(ctx, peer.Key, clockProto, nil)
				trip := time.Since(t0)
				if err != nil || len(b) != 8 {
					return
				}
				theirs := time.Unix(0, int64(binary.BigEndian.Uint64(b)))
				if i == 0 || trip < bestTrip {
					best, bestTrip = theirs.Sub(t0.Add(trip/2)), trip
				}
			}
			mu.Lock()
			defer mu.Unlock()
			offsets = append(offsets, best)
		})
	}
	wg.Wait()
	if len(offsets) == 0 {
		return 0, 0, ErrNoClocks
	}
	slices.Sort(offsets)
	return offsets[len(offsets)/2], len(offsets), nil
}
