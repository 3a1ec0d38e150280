package runner

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

func TestManifestIsAttestedWhenAllOfItIsHere(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		lost := digest.Of([]byte("lost"))
		m := &machine{missing: lost}
		r, stop := start(t, dir, m)
		defer stop()
		full := Hold{Manifest: testJob, Blobs: []enc.BlobRef{{Digest: testJob, Bytes: 1}, {Digest: testChain, Bytes: 1}}}
		part := Hold{Manifest: testChain, Blobs: []enc.BlobRef{{Digest: testChain, Bytes: 1}, {Digest: lost, Bytes: 1}}}
		r.Committed(chain{height: 1, holds: []Hold{full, part}})
		if p := next[*enc.HoldBlobs](t, m); !slices.Equal(p.Manifests, []digest.Digest{full.Manifest}) {
			t.Errorf("attested %v", p.Manifests)
		}
		full.Held = true
		time.Sleep(5 * r.cfg.Resend) // the other one is tried again, and again it is not complete
		r.Committed(chain{height: 2, holds: []Hold{full, part}})
		synctest.Wait()
		for len(m.sent) > 0 { // the first view was looked at until the second came
			if p := (<-m.sent).(*enc.HoldBlobs); p.Manifests[0] == part.Manifest {
				t.Error("an incomplete manifest was attested")
			}
		}
		if r.Stats().Held == 0 {
			t.Error("nothing was counted")
		}
	})
}

func TestBytesAreLetGoOnceWithdrawn(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		earlier := digest.Of([]byte("of an earlier process"))
		m := &machine{}
		m.pin(holdReason(earlier))
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, holds: []Hold{{Manifest: testJob, Blobs: []enc.BlobRef{{Digest: testJob, Bytes: 1}}}}})
		next[*enc.HoldBlobs](t, m)
		r.Committed(chain{height: 2}) // another peer holds it now
		synctest.Wait()
		if !m.pinned(holdReason(testJob)) || !m.pinned(holdReason(earlier)) {
			t.Error("let go of what stands")
		}
		r.Committed(chain{height: 3, gone: []digest.Digest{testJob, earlier}})
		synctest.Wait()
		if m.pinned(holdReason(testJob)) || m.pinned(holdReason(earlier)) {
			t.Error("withdrawn, and kept")
		}
	})
}

// slowBlobs fetches until its context ends.
type slowBlobs struct {
	*machine
	ended chan error
}

func (b slowBlobs) Ensure(ctx context.Context, _ enc.BlobRef, _ string) error {
	<-ctx.Done()
	b.ended <- ctx.Err()
	return ctx.Err()
}

func TestFetchStopsWhenTheManifestIsNoLongerThisPeers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		b := slowBlobs{m, make(chan error, 1)}
		r.cfg.Blobs = b
		r.Committed(chain{height: 1, holds: []Hold{{Manifest: testJob, Blobs: []enc.BlobRef{{Digest: testJob, Bytes: 1}}}}})
		synctest.Wait()
		r.Committed(chain{height: 2})
		if err := <-b.ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		quiet(t, m)
	})
}
