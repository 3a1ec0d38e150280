package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// fakeNode answers from memory and keeps what it was asked.
type fakeNode struct {
	mu       sync.Mutex
	blobs    map[digest.Digest][]byte
	tx       []byte
	err      error                 // answer to everything, if set
	stages   chan api.JobEvent     // JobEvents sends what comes here
	entered  chan struct{}         // Status tells here that it runs, if set
	release  chan struct{}         // and waits here
	waited   time.Duration         // of the last CommandStatus
	plan     api.PlanRequest       // the last
	native   api.NativeRequest     // the last
	drained  bool                  //
	events   []api.Event           //
	eventErr error                 // what Events ends with
	query    api.EventQuery        // the last
	audit    func(io.Writer) error // WriteAudit
	car      []byte                // the last ImportDAGs; ExportDAG gives it back
	missing  []int                 // MissingBlocks answers
	carErr   error                 // what ExportDAG ends with
	told     []string              // of DAGs, in order
}

func newFake() *fakeNode { return &fakeNode{blobs: map[digest.Digest][]byte{}} }

var testID = digest.Of([]byte("some job"))

func (f *fakeNode) SubmitCommand(_ context.Context, tx []byte) (api.CommandAccepted, error) {
	f.tx = bytes.Clone(tx)
	return api.CommandAccepted{ID: testID, State: api.CommandPending}, f.err
}

func (f *fakeNode) CommandStatus(_ context.Context, id digest.Digest, wait time.Duration) (api.CommandStatus, error) {
	f.waited = wait
	return api.CommandStatus{ID: id, State: api.CommandOrdered, Height: 7}, f.err
}

func (f *fakeNode) Status(ctx context.Context) (api.Status, error) {
	if f.entered != nil {
		f.entered <- struct{}{}
		select {
		case <-f.release:
		case <-ctx.Done():
		}
	}
	return api.Status{Peer: "12D3", Version: "test", Ready: true}, f.err
}

func (f *fakeNode) Peers(context.Context) ([]api.Peer, error) {
	return []api.Peer{{ID: "12D3", Connected: true}}, f.err
}

func (f *fakeNode) ChainStatus(context.Context) (api.ChainStatus, error) {
	return api.ChainStatus{Head: api.Head{Height: 9}}, f.err
}

func (f *fakeNode) Block(_ context.Context, height uint64) (api.Block, error) {
	return api.Block{Height: height}, f.err
}

func (f *fakeNode) Validators(context.Context) (api.Validators, error) {
	return api.Validators{Total: 4}, f.err
}

func (f *fakeNode) Executors(context.Context) ([]api.Executor, error) {
	return []api.Executor{{Peer: "12D3", Registered: true, Slots: 4}}, f.err
}

func (f *fakeNode) Genesis(context.Context) ([]byte, error) { return []byte("genesis"), f.err }

func (f *fakeNode) Trust(_ context.Context, epoch uint64) (*api.TrustFile, error) {
	if f.err != nil {
		return nil, f.err
	}
	t := testTrust()
	t.Checkpoint.Height = epoch // shows what was asked for
	return t, nil
}

func (f *fakeNode) Evidence(context.Context) ([]api.Evidence, error) {
	return []api.Evidence{{ID: testID, Kind: "two votes in one view", Removed: true}}, f.err
}

func testTrust() *api.TrustFile {
	return &api.TrustFile{
		Version: 1, Chain: trustChain(), Protocol: consensus.ProtocolVersion,
		Checkpoint: trustCheckpoint(),
		Validators: trustValidators(),
	}
}

func (f *fakeNode) Events(_ context.Context, q api.EventQuery, emit func(api.Event) error) error {
	f.query = q
	for _, e := range f.events {
		if err := emit(e); err != nil {
			return err
		}
	}
	return f.eventErr
}

func (f *fakeNode) WriteAudit(_ context.Context, q api.AuditQuery, w io.Writer) error {
	if f.audit != nil {
		return f.audit(w)
	}
	_, err := fmt.Fprintf(w, "%s %d %d\n", q.Format, q.From, q.To)
	return err
}

func (f *fakeNode) Jobs(_ context.Context, q api.JobQuery) (api.JobList, error) {
	return api.JobList{Next: fmt.Sprint(q.Limit, q.Cursor, q.State, q.Kind)}, f.err
}

func (f *fakeNode) Job(_ context.Context, ref string) (api.Job, error) {
	if ref != testID.Short() {
		return api.Job{}, api.NotFound("list them with: bpi job list", "job %q is not known", ref)
	}
	return api.Job{JobSummary: api.JobSummary{ID: testID, State: api.JobSealed}}, f.err
}

func (f *fakeNode) JobEvents(ctx context.Context, ref string, emit func(api.JobEvent) error) error {
	if _, err := f.Job(ctx, ref); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, more := <-f.stages:
			if !more {
				return nil
			}
			if err := emit(e); err != nil || e.Ended() {
				return err
			}
		}
	}
}

func (f *fakeNode) JobOutput(_ context.Context, ref, name string) (api.Output, io.ReadCloser, error) {
	b := []byte("output " + ref + " " + name)
	return api.Output{Name: name, Digest: digest.Of(b), Bytes: uint64(len(b))}, io.NopCloser(bytes.NewReader(b)), f.err
}

func (f *fakeNode) Receipt(context.Context, string, uint64) (*api.Receipt, error) {
	return &api.Receipt{}, f.err
}

func (f *fakeNode) PlanSQL(_ context.Context, req api.PlanRequest) (api.Plan, error) {
	f.plan = req
	return api.Plan{R: 3, Q: 2}, f.err
}

func (f *fakeNode) PlanNative(_ context.Context, req api.NativeRequest) (api.Plan, error) {
	f.native = req
	return api.Plan{R: 3, Q: 2}, f.err
}

func (f *fakeNode) Images(context.Context) ([]api.Image, error) {
	return []api.Image{{Digest: testID}}, f.err
}

func (f *fakeNode) Image(_ context.Context, ref string) (api.ImageDetail, error) {
	return api.ImageDetail{Image: api.Image{Publication: api.Publication{Name: ref}}}, f.err
}

func (f *fakeNode) Datasets(context.Context) ([]api.Dataset, error) {
	return []api.Dataset{{Rows: 3}}, f.err
}

func (f *fakeNode) Dataset(_ context.Context, ref string) (api.DatasetDetail, error) {
	return api.DatasetDetail{Dataset: api.Dataset{Publication: api.Publication{Name: ref}}}, f.err
}

func (f *fakeNode) SniffDataset(_ context.Context, req api.SniffRequest) (api.SniffResult, error) {
	return api.SniffResult{Format: req.Format}, f.err
}

func (f *fakeNode) PutBlob(_ context.Context, d digest.Digest, size uint64, r io.Reader) (api.BlobStored, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return api.BlobStored{}, err
	}
	if digest.Of(b) != d || uint64(len(b)) != size {
		return api.BlobStored{}, api.Malformed("", "other bytes than announced")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, existed := f.blobs[d]
	f.blobs[d] = b
	return api.BlobStored{Digest: d, Bytes: size, Existed: existed}, f.err
}

func (f *fakeNode) StatBlob(_ context.Context, d digest.Digest) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[d]
	if !ok {
		return 0, api.NotFound("", "blob %s is not here", d.Short())
	}
	return uint64(len(b)), nil
}

func (f *fakeNode) OpenBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, uint64, error) {
	if _, err := f.StatBlob(ctx, d); err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return io.NopCloser(bytes.NewReader(f.blobs[d])), uint64(len(f.blobs[d])), nil
}

func (f *fakeNode) Drain(_ context.Context, on bool) (api.DrainStatus, error) {
	f.drained = on
	return api.DrainStatus{Draining: on}, f.err
}

func (f *fakeNode) Network(_ context.Context, check bool) (api.Network, error) {
	n := api.Network{Name: "devnet-7f3a91", MaxPeers: 50}
	if check {
		n.Reach.Asked = []api.ReachPeer{{ID: "12D3", Observed: "192.0.2.7", Ports: []api.ReachPort{{Port: 4001, OK: true}}}}
	}
	return n, f.err
}

func (f *fakeNode) Revoke(_ context.Context, raw []byte) (api.RevocationTaken, error) {
	return api.RevocationTaken{ID: string(raw)}, f.err
}

// serve runs the handler over f on a port of the kernel's choice, and gives a client and the base URL.
func serve(t *testing.T, f *fakeNode, o api.Options) (*api.Client, string) {
	t.Helper()
	h, err := api.NewHandler(f, o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	s.Config = api.NewServer(h, nil)
	s.Start()
	t.Cleanup(s.Close)
	c := api.NewTCPClient(s.Listener.Addr().String())
	t.Cleanup(c.Close)
	return c, s.URL
}

func testKey() sign.PublicKey { return sign.FromSeed(bytes.Repeat([]byte{1}, 32)).Public() }

func (f *fakeNode) dag(what, cid string) (api.DAG, error) {
	f.told = append(f.told, what+" "+cid)
	return api.DAG{CID: cid, Kind: "file", Bytes: 3, Whole: true, Pins: []string{}}, f.err
}

func (f *fakeNode) DAGs(context.Context) (api.DAGList, error) {
	d, err := f.dag("list", "c")
	return api.DAGList{DAGs: []api.DAG{d}, Usage: api.BlobUsage{Blobs: 1}}, err
}

func (f *fakeNode) DAG(_ context.Context, c string) (api.DAG, error)      { return f.dag("look", c) }
func (f *fakeNode) FetchDAG(_ context.Context, c string) (api.DAG, error) { return f.dag("fetch", c) }
func (f *fakeNode) PinDAG(_ context.Context, c string) (api.DAG, error)   { return f.dag("pin", c) }
func (f *fakeNode) UnpinDAG(_ context.Context, c string) (api.DAG, error) { return f.dag("unpin", c) }

func (f *fakeNode) MissingBlocks(_ context.Context, asked api.BlocksAsked) (api.BlocksMissing, error) {
	f.told = append(f.told, fmt.Sprint("missing of ", len(asked.CIDs)))
	return api.BlocksMissing{Missing: f.missing}, f.err
}

func (f *fakeNode) ImportDAGs(_ context.Context, r io.Reader) (list []api.DAG, err error) {
	if f.car, err = io.ReadAll(r); err != nil {
		return nil, err
	}
	d, err := f.dag("import", "c")
	return []api.DAG{d}, err
}

func (f *fakeNode) ExportDAG(_ context.Context, c string, repeats bool, w io.Writer) error {
	if _, err := f.dag(fmt.Sprint("export ", repeats), c); err != nil {
		return err
	}
	if _, err := w.Write(f.car); err != nil {
		return err
	}
	return f.carErr
}

func (f *fakeNode) Collect(context.Context) (api.Collected, error) {
	return api.Collected{FreedBytes: 9}, f.err
}
