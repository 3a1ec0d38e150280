package statesync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Bounds of one fetch.
const (
	maxAsked    = 16               // nodes asked for offers
	maxTried    = 4                // snapshots tried
	maxGivers   = 8                // nodes asked for chunks at once
	maxFailures = 4                // in a row, after which a node is asked for no more of a snapshot
	shunned     = 10 * time.Minute // who lied is asked for nothing so long
	offerWait   = 2 * time.Second  // for offers: whoever is silent must not keep the node from catching up by blocks
)

// Network asks other nodes. Its methods are safe for concurrent use.
type Network interface {
	// Request asks one node and waits for its answer, at most MaxResponseBytes.
	Request(ctx context.Context, to sign.PublicKey, req []byte) ([]byte, error)
	// Peers are the nodes that can be asked now.
	Peers() []sign.PublicKey
}

// FetchConfig is what a Fetcher is made of.
type FetchConfig struct {
	Folder  *Folder
	Epochs  Epochs
	Network Network
	Wait    time.Duration // for an answer to one request: 10 s
	// Penalise reports a node that gave what no honest node gives. It must not block. nil: none.
	Penalise func(node sign.PublicKey, reason string)
	Log      *slog.Logger
}

// Fetcher brings snapshots of other nodes into a folder. One goroutine uses it; Stats may be called by all.
type Fetcher struct {
	cfg   FetchConfig
	liars map[sign.PublicKey]time.Time // until when they are shunned; bounded by those who are connected
	count struct{ chunks, bytes, bad, resumed atomic.Uint64 }
}

// Stats are a fetcher's counters.
type Stats struct {
	Chunks  uint64 // fetched and true
	Bytes   uint64 // in them
	Bad     uint64 // heads and chunks that were not valid
	Resumed uint64 // chunks that an interrupted fetch had brought
}

// NewFetcher makes a fetcher.
func NewFetcher(cfg FetchConfig) *Fetcher {
	if cfg.Wait <= 0 {
		cfg.Wait = 10 * time.Second
	}
	if cfg.Penalise == nil {
		cfg.Penalise = func(sign.PublicKey, string) {}
	}
	return &Fetcher{cfg: cfg, liars: map[sign.PublicKey]time.Time{}}
}

// Stats gives the counters.
func (f *Fetcher) Stats() Stats {
	c := &f.count
	return Stats{Chunks: c.chunks.Load(), Bytes: c.bytes.Load(), Bad: c.bad.Load(), Resumed: c.resumed.Load()}
}

// ErrNone is wrapped by Fetch when nobody who was asked offers what is wanted.
var ErrNone = errors.New("no peer offers a snapshot")

// group is those who offer one snapshot.
type group struct {
	offer  offer
	givers []sign.PublicKey
}

// Fetch brings the highest snapshot of a block at least from that can be had, and gives it when it is whole and durable
// in the folder. What it has when it fails, it goes on with the next time. asked is how many nodes answered what they
// offer.
func (f *Fetcher) Fetch(ctx context.Context, from consensus.Height) (s *snapshot.Snapshot, asked int, err error) {
	groups, asked := f.offers(ctx, from)
	if len(groups) == 0 {
		err := fmt.Errorf("%w of block %d or above", ErrNone, from)
		if asked > 0 { // then nothing is needed of what was begun
			err = errors.Join(err, f.cfg.Folder.forget())
		}
		return nil, asked, err
	}
	for i, g := range groups {
		if i == maxTried || ctx.Err() != nil {
			break
		}
		var e error
		if s, e = f.fetch(ctx, g); e == nil {
			return s, asked, nil
		}
		f.cfg.Log.Info("a snapshot could not be fetched", "height", uint64(g.offer.Height), "peers", len(g.givers), "reason", e)
		err = e
	}
	return nil, asked, errors.Join(err, ctx.Err())
}

// offers asks who has what, and groups it: the highest first, and of one height, that of the most nodes.
func (f *Fetcher) offers(ctx context.Context, from consensus.Height) ([]group, int) {
	peers := slices.DeleteFunc(f.cfg.Network.Peers(), func(p sign.PublicKey) bool { return time.Now().Before(f.liars[p]) })
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	peers = peers[:min(len(peers), maxAsked)]
	answers := make([][]offer, len(peers))
	var wg sync.WaitGroup
	var asked atomic.Int64
	var lies = make([]error, len(peers))
	for i, p := range peers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, offerWait)
			defer cancel()
			raw, err := f.request(ctx, p, request{What: askOffers})
			if err != nil {
				return
			}
			if answers[i], lies[i] = decodeOffers(raw); lies[i] == nil {
				asked.Add(1)
			}
		})
	}
	wg.Wait()
	byOffer := map[offer]*group{}
	var list []group
	for i, p := range peers {
		if lies[i] != nil {
			f.shun(p, lies[i])
			continue
		}
		for _, o := range answers[i] {
			if o.Height < from {
				continue
			}
			if byOffer[o] == nil {
				byOffer[o] = &group{offer: o}
			}
			if !slices.Contains(byOffer[o].givers, p) {
				byOffer[o].givers = append(byOffer[o].givers, p)
			}
		}
	}
	for _, g := range byOffer {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b group) int {
		if a.offer.Height != b.offer.Height {
			return int(int64(b.offer.Height) - int64(a.offer.Height))
		}
		if len(a.givers) != len(b.givers) {
			return len(b.givers) - len(a.givers)
		}
		return a.offer.ID.Compare(b.offer.ID)
	})
	return list, int(asked.Load())
}

func (f *Fetcher) request(ctx context.Context, to sign.PublicKey, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Wait)
	defer cancel()
	return f.cfg.Network.Request(ctx, to, canon.Must(&r))
}

// shun reports a liar and asks it for nothing more.
func (f *Fetcher) shun(p sign.PublicKey, reason error) {
	f.count.bad.Add(1)
	if len(f.liars) > 1024 {
		clear(f.liars)
	}
	f.liars[p] = time.Now().Add(shunned)
	f.cfg.Log.Warn("a peer gives a false snapshot and is left", "peer", p.Short(), "reason", reason)
	f.cfg.Penalise(p, reason.Error())
}

// fetch brings the snapshot of a group.
func (f *Fetcher) fetch(ctx context.Context, g group) (*snapshot.Snapshot, error) {
	if s, ok := f.cfg.Folder.Get(g.offer.Height, g.offer.ID); ok {
		return s, nil
	}
	p := f.cfg.Folder.resume(g.offer.Height, g.offer.ID)
	if p == nil {
		s, err := f.head(ctx, &g)
		if err != nil {
			return nil, err
		}
		if p, err = f.cfg.Folder.begin(s); err != nil {
			return nil, err
		}
	}
	missing := p.missing()
	f.count.resumed.Add(uint64(p.snap.Chunks() - len(missing)))
	started := time.Now()
	f.cfg.Log.Info("fetching a snapshot", "height", uint64(p.snap.Height()), "chunks", p.snap.Chunks(), "missing", len(missing),
		"bytes", p.snap.Bytes(), "peers", len(g.givers))
	if err := f.chunks(ctx, p, missing, g.givers); err != nil {
		return nil, err
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	f.cfg.Log.Info("a snapshot is here", "height", uint64(p.snap.Height()), "bytes", p.snap.Bytes(), "ms", time.Since(started).Milliseconds())
	return p.snap, nil
}

// judge checks a head that p gave, after learning who the validators of its epoch are.
func (f *Fetcher) judge(ctx context.Context, p sign.PublicKey, raw []byte) (*snapshot.Snapshot, error) {
	h, err := snapshot.DecodeHead(raw)
	if err != nil {
		return nil, err
	}
	epoch, err := h.Epoch()
	if err != nil {
		return nil, err
	}
	if err := f.reach(ctx, p, epoch); err != nil {
		return nil, err
	}
	return f.cfg.Folder.checked(h)
}

// head asks one of the group after another for the head. Who lies is taken out of the group.
func (f *Fetcher) head(ctx context.Context, g *group) (*snapshot.Snapshot, error) {
	err := error(ErrNone)
	for _, p := range slices.Clone(g.givers) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var raw []byte
		if raw, err = f.request(ctx, p, request{What: askHead, Height: g.offer.Height, ID: g.offer.ID}); err != nil {
			continue
		}
		var s *snapshot.Snapshot
		if s, err = f.judge(ctx, p, raw); err == nil && (s.Height() != g.offer.Height || s.ID() != g.offer.ID) {
			err = fmt.Errorf("%w: head of block %d in place of block %d", snapshot.ErrInvalid, s.Height(), g.offer.Height)
		}
		if err == nil {
			return s, nil
		}
		if errors.Is(err, snapshot.ErrInvalid) {
			f.shun(p, err)
			g.givers = slices.DeleteFunc(g.givers, func(x sign.PublicKey) bool { return x == p })
		}
	}
	return nil, fmt.Errorf("head of the snapshot of block %d: %w", g.offer.Height, err)
}
