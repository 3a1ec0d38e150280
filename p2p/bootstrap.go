package p2p

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	bootFirst    = 100 * time.Millisecond // first wait after a failed dial
	bootLongest  = 30 * time.Second       // longest wait after a failed dial
	holeTime     = 5 * time.Second        // what a relayed connection has to become a direct one
	bootTick     = 5 * time.Second        // how often the loop looks without being poked
	saveDelay    = time.Second            // peers.json is at most this much behind
	wantPeers    = 8                      // below so many members, saved peers are dialed too
	dialsAtOnce  = 4
	savedPerTurn = 8
)

// attempt is when a peer may be dialed again.
type attempt struct {
	wait time.Duration
	next time.Time
}

// bootstrap dials the configured peers, foreign ones among them, whenever they are gone, and saved ones while there are few. Waits double after
// each failure, with jitter, so that a network that starts again does not dial in step.
func (p *Host) bootstrap() {
	tries := map[peer.ID]*attempt{} // of bootstrap, saved and foreign peers only, so it is bounded
	timer := time.NewTimer(0)
	defer timer.Stop()
	save := time.NewTicker(saveDelay)
	defer save.Stop()
	refreshed := 0
	for {
		select {
		case <-p.life.Done():
			return
		case <-save.C:
			p.savePeers()
			continue
		case <-timer.C:
		case <-p.wake:
		}
		wait := p.dialRound(tries)
		if n := p.memberCount(); n > refreshed && p.dht != nil {
			p.refresh()
			refreshed = n
		} else if n < refreshed {
			refreshed = n
		}
		timer.Reset(wait)
	}
}

// refresh has the DHT look at its table again, unless the host is closed.
func (p *Host) refresh() {
	p.refreshing.Lock()
	defer p.refreshing.Unlock()
	if p.life.Err() == nil {
		p.dht.RefreshRoutingTable() // its answer comes on a channel that nobody has to read
	}
}

// dialRound dials who is due and returns the time until the next one is.
func (p *Host) dialRound(tries map[peer.ID]*attempt) time.Duration {
	now := time.Now()
	due := p.due(tries, now)
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, dialsAtOnce)
	for _, info := range due {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(p.life, 10*time.Second)
			defer cancel()
			if p.h.Network().Connectedness(info.ID) == network.Limited {
				_ = p.h.Network().ClosePeer(info.ID) // a relay's, which led to no direct one: both ends try again
			}
			err := p.meet(ctx, info)
			p.noteBoot(info.ID, err)
			mu.Lock()
			defer mu.Unlock()
			t := tries[info.ID]
			if err == nil {
				// It may turn out to be of another network, so the wait is kept, not forgotten, until it has stayed.
				stay := time.Second
				if p.h.Network().Connectedness(info.ID) == network.Limited {
					stay = holeTime
				}
				t.next = time.Now().Add(max(t.wait, stay))
				t.wait = min(max(2*t.wait, bootFirst), bootLongest)
				return
			}
			p.log.Debug("bootstrap dial", "peer", info.ID, "error", err)
			t.wait = min(max(2*t.wait, bootFirst), bootLongest)
			t.next = time.Now().Add(t.wait/2 + rand.N(t.wait))
		})
	}
	wg.Wait()
	next := bootTick
	seekSaved := p.memberCount() < min(wantPeers, p.cfg.MaxPeers)
	for id, t := range tries {
		switch {
		case p.isMember(id), p.isGuest(id):
			t.wait = 0
		case seekSaved || p.isBootstrap(id) || p.gate.listed(id):
			next = min(next, max(time.Until(t.next), bootFirst))
		case len(tries) > 2*maxSavedPeers+len(p.boot)+len(p.gate.foreign):
			delete(tries, id)
		}
	}
	return next
}

// noteBoot keeps what became of the last dial of a configured peer, for people.
func (p *Host) noteBoot(id peer.ID, err error) {
	if !p.isBootstrap(id) && !p.gate.listed(id) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, swarm.ErrDialBackoff) && p.bootErrors[id] != "" {
		return // what went wrong when it was dialed says more
	}
	delete(p.bootErrors, id)
	if err != nil {
		p.bootErrors[id] = clip(bootWords(err), 300)
	}
}

// bootWords is the sentence of dialError for what it knows.
func bootWords(err error) string {
	if errors.Is(err, ErrNotAdmitted) || errors.Is(err, errOutsider) {
		if inner := errors.Unwrap(err); inner != nil { // without the peer's id, which stands beside it
			return inner.Error()
		}
	}
	return dialError(err).Error()
}

// isBootstrap reports whether the configuration names the peer to join by.
func (p *Host) isBootstrap(id peer.ID) bool {
	return slices.ContainsFunc(p.boot, func(b peer.AddrInfo) bool { return b.ID == id })
}

// due is the peers to dial now.
func (p *Host) due(tries map[peer.ID]*attempt, now time.Time) []peer.AddrInfo {
	var out []peer.AddrInfo
	consider := func(info peer.AddrInfo) bool {
		if info.ID == p.h.ID() || p.h.Network().Connectedness(info.ID) == network.Connected {
			return false
		}
		t := tries[info.ID]
		if t == nil {
			t = &attempt{}
			tries[info.ID] = t
		}
		if now.Before(t.next) {
			return false
		}
		out = append(out, info)
		return true
	}
	for _, b := range p.boot {
		consider(b)
	}
	for _, f := range p.gate.foreign {
		if len(f.Addrs) > 0 {
			consider(f)
		}
	}
	if p.saved != nil && p.memberCount() < min(wantPeers, p.cfg.MaxPeers) {
		n := 0
		for _, s := range p.saved.list() {
			if n < savedPerTurn && consider(s) {
				p.h.Peerstore().AddAddrs(s.ID, s.Addrs, peerstore.RecentlyConnectedAddrTTL)
				n++
			}
		}
	}
	return out
}

// savePeers writes peers.json and the members' file if they changed.
func (p *Host) savePeers() {
	if p.saved == nil {
		return
	}
	if err := p.saved.save(); err != nil {
		p.log.Warn("peers are not saved and will not be found after a restart", "error", err)
	}
	p.saveRoll()
}

// saveRoll writes the members' file if it changed.
func (p *Host) saveRoll() {
	if p.roll == nil || p.cfg.Client {
		return
	}
	if err := p.roll.save(p.cfg.DataDir); err != nil {
		p.log.Warn("invited members and revocations are not saved; after a restart this peer asks the others again", "error", err)
	}
}
