package node

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/blob"
)

// userPin is the reason under which people pin.
const userPin = "user"

func (b *backend) usage() api.BlobUsage {
	u := b.n.store.Usage()
	return api.BlobUsage{Blobs: u.Blobs, UsedBytes: u.UsedBytes, PinnedBytes: u.PinnedBytes, QuotaBytes: u.QuotaBytes}
}

func (b *backend) dagOf(l blob.Listed) api.DAG {
	d := api.DAG{CID: l.CID.String(), Bytes: l.Bytes, Whole: l.Whole, Pins: l.Reasons}
	if d.Pins == nil {
		d.Pins = []string{}
	}
	if l.Whole {
		d.Kind = l.Kind()
	}
	if !l.Digest.IsZero() {
		d.SHA256 = l.Digest.String()
	}
	if at, ok := b.n.blobs.exchange.Progress(l.CID); ok {
		d.Fetched, d.Total = at.Bytes, at.Total
	}
	return d
}

// DAGs implements api.DAGs.
func (b *backend) DAGs(context.Context) (api.DAGList, error) {
	list := api.DAGList{DAGs: []api.DAG{}, Usage: b.usage()}
	for _, l := range b.n.store.List() {
		if len(list.DAGs) == maxListed {
			break
		}
		list.DAGs = append(list.DAGs, b.dagOf(l))
	}
	return list, nil
}

// findDAG reads a CID and looks for it.
func (b *backend) findDAG(text string) (blob.CID, api.DAG, error) {
	c, err := blob.ParseCID(text)
	if err != nil {
		return c, api.DAG{}, api.Malformed("", "%v", err)
	}
	l, ok := b.n.store.Look(c)
	if !ok {
		return c, api.DAG{}, api.NotFound("fetch it with: bpi blob get "+c.String()+" -o DIR", "%s is not here", c)
	}
	return c, b.dagOf(l), nil
}

// DAG implements api.DAGs.
func (b *backend) DAG(_ context.Context, text string) (api.DAG, error) {
	_, d, err := b.findDAG(text)
	return d, err
}

// FetchDAG implements api.DAGs.
func (b *backend) FetchDAG(ctx context.Context, text string) (api.DAG, error) {
	c, err := blob.ParseCID(text)
	if err != nil {
		return api.DAG{}, api.Malformed("", "%v", err)
	}
	room := b.n.cfg.Storage.BlobQuotaBytes
	if room == 0 {
		room = math.MaxInt64
	}
	if err := b.n.blobs.exchange.FetchDAG(ctx, c, room); err != nil {
		return api.DAG{}, fetchError(err)
	}
	_, d, err := b.findDAG(text)
	return d, err
}

// fetchError says in the API's terms why a fetch failed.
func fetchError(err error) error {
	switch {
	case errors.Is(err, blob.ErrQuota), errors.Is(err, blob.ErrDiskFull):
		return blobError(err)
	case errors.Is(err, p2p.ErrTooMuch):
		return api.QuotaFull("raise storage.blob_quota_bytes", "%v", err)
	case errors.Is(err, p2p.ErrNoProvider):
		return api.Unavailable("see who is connected with bpi network peers; what came so far is kept, and the next attempt goes on there", "%v", err)
	case errors.Is(err, blob.ErrDAG), errors.Is(err, blob.ErrMismatch):
		return api.Malformed("", "%v", err)
	}
	return err
}

// PinDAG implements api.DAGs.
func (b *backend) PinDAG(_ context.Context, text string) (api.DAG, error) {
	c, _, err := b.findDAG(text)
	if err != nil {
		return api.DAG{}, err
	}
	if err := b.n.store.Pin(c, userPin); err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			return api.DAG{}, api.NotFound("fetch it first with: bpi blob get "+c.String()+" -o DIR", "%s is not whole yet", c)
		}
		return api.DAG{}, err
	}
	_, d, err := b.findDAG(text)
	return d, err
}

// UnpinDAG implements api.DAGs.
func (b *backend) UnpinDAG(_ context.Context, text string) (api.DAG, error) {
	c, _, err := b.findDAG(text)
	if err != nil {
		return api.DAG{}, err
	}
	if err := b.n.store.Unpin(c, userPin); err != nil {
		return api.DAG{}, err
	}
	_, d, err := b.findDAG(text)
	return d, err
}

// MissingBlocks implements api.DAGs.
func (b *backend) MissingBlocks(ctx context.Context, asked api.BlocksAsked) (api.BlocksMissing, error) {
	if len(asked.CIDs) > api.MaxBlocksAsked {
		return api.BlocksMissing{}, api.Malformed("", "a question after %d blocks: at most %d", len(asked.CIDs), api.MaxBlocksAsked)
	}
	out := api.BlocksMissing{Missing: []int{}}
	for i, text := range asked.CIDs {
		c, err := blob.ParseCID(text)
		if err != nil {
			return out, api.Malformed("", "%v", err)
		}
		have, err := b.n.store.Blocks().Has(ctx, c)
		if err != nil {
			return out, err
		}
		if !have {
			out.Missing = append(out.Missing, i)
		}
	}
	return out, nil
}

// ImportDAGs implements api.DAGs.
func (b *backend) ImportDAGs(ctx context.Context, car io.Reader) ([]api.DAG, error) {
	roots, err := b.n.store.Import(ctx, car)
	switch {
	case errors.Is(err, blob.ErrQuota), errors.Is(err, blob.ErrDiskFull):
		return nil, blobError(err)
	case errors.Is(err, blob.ErrNotFound):
		return nil, api.NotFound("send all blocks", "%v", err)
	case err != nil && ctx.Err() == nil && !errors.Is(err, blob.ErrTrouble):
		return nil, api.Malformed("", "%v", err)
	case err != nil:
		return nil, err
	}
	list := make([]api.DAG, len(roots))
	for i, r := range roots {
		if l, ok := b.n.store.Look(r.CID); ok {
			list[i] = b.dagOf(l)
		} else {
			list[i] = b.dagOf(blob.Listed{Root: r, Whole: true}) // collected already
		}
	}
	return list, nil
}

// ExportDAG implements api.DAGs.
func (b *backend) ExportDAG(ctx context.Context, text string, repeats bool, w io.Writer) error {
	c, d, err := b.findDAG(text)
	if err != nil {
		return err
	}
	if !d.Whole {
		return api.NotFound("fetch it first with: bpi blob get "+c.String()+" -o DIR", "%s is not whole yet", c)
	}
	return b.n.store.Export(ctx, w, c, repeats)
}

// Collect implements api.Admin.
func (b *backend) Collect(ctx context.Context) (api.Collected, error) {
	freed, err := b.n.store.Empty(ctx)
	if err != nil {
		return api.Collected{}, err
	}
	return api.Collected{FreedBytes: freed, Usage: b.usage()}, nil
}
