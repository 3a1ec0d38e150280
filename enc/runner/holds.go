package runner

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// counts are read by Stats from any goroutine.
type counts struct{ started, finished, failed, held atomic.Uint64 }

// Stats are counters since the start of this process.
type Stats struct{ Started, Finished, Failed, Held uint64 }

// Stats gives the counters. Safe for concurrent use.
func (r *Runner) Stats() Stats {
	return Stats{r.counts.started.Load(), r.counts.finished.Load(), r.counts.failed.Load(), r.counts.held.Load()}
}

// hold fetches and pins what the chain wants this peer to hold, attests what is complete, and lets go of what was
// withdrawn. What moved to another holder stays pinned: the other may not have it yet.
func (r *Runner) hold(ctx context.Context, v View) {
	wanted := map[digest.Digest]bool{}
	for _, h := range v.Holds() {
		wanted[h.Manifest] = true
		if h.Held || r.holds[h.Manifest] != nil {
			continue
		}
		if at, ok := r.sent[holdKey(h.Manifest)]; ok && r.cfg.Now().Sub(at) < r.cfg.Resend {
			continue
		}
		r.sent[holdKey(h.Manifest)] = r.cfg.Now()
		r.fetch(ctx, h)
	}
	for m, cancel := range r.holds {
		if !wanted[m] {
			cancel()
		}
	}
	for m := range r.pinned {
		if r.holds[m] != nil || v.Stands(m) {
			continue
		}
		if err := r.cfg.Blobs.Release(holdReason(m)); err != nil {
			r.cfg.Logger.Warn("withdrawn bytes not released; tried again at a later block", "manifest", m.Short(), "err", err)
			continue
		}
		delete(r.pinned, m)
	}
}

func (r *Runner) fetch(ctx context.Context, h Hold) {
	hctx, cancel := context.WithCancel(ctx)
	r.holds[h.Manifest], r.pinned[h.Manifest] = cancel, true
	blobs := slices.Clone(h.Blobs)
	slices.SortFunc(blobs, func(a, b enc.BlobRef) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	r.spawn.Go(func() {
		var err error
		for _, b := range blobs {
			if err = r.cfg.Blobs.Ensure(hctx, b, holdReason(h.Manifest)); err != nil {
				break
			}
		}
		r.held <- holdResult{h.Manifest, err}
	})
}

// holdDone attests a complete manifest; an incomplete one is tried again at a later block.
func (r *Runner) holdDone(ctx context.Context, h holdResult) {
	r.holds[h.manifest]()
	delete(r.holds, h.manifest)
	if h.err == nil {
		r.counts.held.Add(1)
		var b []byte
		if b, h.err = canon.Marshal(&enc.HoldBlobs{Manifests: []digest.Digest{h.manifest}}); h.err == nil {
			h.err = r.cfg.Command.Command(ctx, enc.KindHoldBlobs, b)
		}
	}
	if h.err != nil {
		r.cfg.Logger.Warn("bytes not held yet; tried again at a later block", "manifest", h.manifest.Short(), "err", h.err)
	}
}

func holdKey(m digest.Digest) string { return "hold/" + m.String() }

// holdReasons begins the reasons under which the bytes of manifests are pinned; the manifest follows.
const holdReasons = "hold/"

func holdReason(m digest.Digest) string { return holdReasons + m.String() }
