package node

import (
	"context"
	"errors"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/p2p/blob"
)

// maxListed bounds a list of data sets or images.
const maxListed = 10_000

func datasetOf(s *enc.State, d *enc.Published) api.Dataset {
	return api.Dataset{Publication: publication(s, d), Manifest: d.Manifest, Rows: d.Rows, Files: files(s, d.Manifest)}
}

// Datasets implements api.Datasets.
func (b *backend) Datasets(context.Context) ([]api.Dataset, error) {
	s := b.n.ledger.head.Load().state
	list := []api.Dataset{}
	for _, d := range s.Datasets("", maxListed) {
		list = append(list, datasetOf(s, d))
	}
	return list, nil
}

// Dataset implements api.Datasets.
func (b *backend) Dataset(ctx context.Context, ref string) (api.DatasetDetail, error) {
	s := b.n.ledger.head.Load().state
	d, err := b.n.dataset(ctx, s, ref)
	if err != nil {
		return api.DatasetDetail{}, err
	}
	out := api.DatasetDetail{Dataset: datasetOf(s, d.entry), Versions: s.DatasetVersions(d.entry.Name), Format: d.manifest.Format, Columns: columns(d.manifest), Encoded: d.encoded}
	for _, f := range d.manifest.Files {
		out.FileList = append(out.FileList, api.DatasetFile{Path: f.Path, Digest: f.Digest, Bytes: f.Bytes, Rows: f.Rows})
	}
	return out, nil
}

// Images implements api.Images.
func (b *backend) Images(context.Context) ([]api.Image, error) {
	s := b.n.ledger.head.Load().state
	list := []api.Image{}
	for _, v := range s.Images("", maxListed) {
		list = append(list, api.Image{Publication: publication(s, v), Digest: v.Manifest})
	}
	return list, nil
}

// Image implements api.Images.
func (b *backend) Image(_ context.Context, ref string) (api.ImageDetail, error) {
	s := b.n.ledger.head.Load().state
	v, err := b.n.resolve(images, s, ref)
	if err != nil {
		return api.ImageDetail{}, err
	}
	return api.ImageDetail{Image: api.Image{Publication: publication(s, v), Digest: v.Manifest}, Versions: s.ImageVersions(v.Name)}, nil
}

func columns(m *analytics.Manifest) []api.Column {
	list := []api.Column{}
	for _, c := range m.Columns {
		list = append(list, api.Column{Name: c.Name, Type: c.Type})
	}
	for _, c := range m.Keys {
		list = append(list, api.Column{Name: c.Name, Type: c.Type})
	}
	return list
}

// SniffDataset implements api.Datasets: the files are blobs that the client uploaded before.
func (b *backend) SniffDataset(ctx context.Context, req api.SniffRequest) (api.SniffResult, error) {
	if err := analytics.CheckName(req.Name); err != nil {
		return api.SniffResult{}, api.Malformed("", "%v", err)
	}
	files := make([]analytics.File, 0, len(req.Files))
	for _, f := range req.Files {
		size, ok := b.n.store.Size(f.Digest)
		if !ok || size != f.Bytes {
			return api.SniffResult{}, api.NotFound("upload it first", "file %.200q: its %d bytes (sha256:%s) are not here", f.Path, f.Bytes, f.Digest)
		}
		files = append(files, analytics.File{Path: f.Path, Digest: f.Digest, Bytes: f.Bytes})
	}
	m, err := analytics.Describe(ctx, b.n.sql, files, req.Format, req.Options)
	var failure *analytics.Failure
	switch {
	case errors.As(err, &failure):
		return api.SniffResult{}, sqlProblem(failure)
	case errors.Is(err, errNoCage):
		return api.SniffResult{}, api.Unavailable("add the data set through a peer that executes", "this peer has no cage, so it cannot look into the files: %s", b.n.missing)
	case errors.Is(err, analytics.ErrDescribe):
		return api.SniffResult{}, api.Malformed("", "%v", err)
	case err != nil:
		return api.SniffResult{}, err
	}
	return api.SniffResult{
		Format: m.Format, Columns: columns(m), Options: m.Dialect.Options(), Rows: m.Rows, Manifest: m.Encode(), Digest: m.Digest(),
	}, nil
}

// blobError says in the API's terms why the blob store refused.
func blobError(err error) error {
	switch {
	case errors.Is(err, blob.ErrQuota), errors.Is(err, blob.ErrDiskFull):
		return api.QuotaFull("", "%v", err) // it says itself what to do
	case errors.Is(err, blob.ErrMismatch):
		return api.Malformed("the file changed while it was sent: send it again", "%v", err)
	}
	return err
}
