package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// SubmitCommand hands a signed command's canonical bytes to the node.
func (c *Client) SubmitCommand(ctx context.Context, tx []byte) (CommandAccepted, error) {
	var a CommandAccepted
	resp, err := c.do(ctx, http.MethodPost, "/v1/commands", nil, "application/cbor", bytes.NewReader(tx), int64(len(tx)))
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	return a, readJSON(resp, "/v1/commands", &a)
}

// CommandStatus asks what became of a command, waiting up to wait (at most MaxWait) for it to be ordered.
func (c *Client) CommandStatus(ctx context.Context, id digest.Digest, wait time.Duration) (CommandStatus, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	var s CommandStatus
	return s, c.getJSON(ctx, "/v1/commands/"+id.String(), q, &s)
}

// WaitCommand asks until the command is ordered, has expired, or ctx ends.
func (c *Client) WaitCommand(ctx context.Context, id digest.Digest) (CommandStatus, error) {
	for {
		s, err := c.CommandStatus(ctx, id, MaxWait)
		if err != nil || s.State == CommandOrdered || s.State == CommandExpired {
			return s, err
		}
	}
}

// Status asks the node about itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.getJSON(ctx, "/v1/status", nil, &s)
}

// Peers lists the node's peers.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	var s []Peer
	return s, c.getJSON(ctx, "/v1/peers", nil, &s)
}

// ChainStatus asks for the chain and its head.
func (c *Client) ChainStatus(ctx context.Context) (ChainStatus, error) {
	var s ChainStatus
	return s, c.getJSON(ctx, "/v1/chain", nil, &s)
}

// Block asks for a final block.
func (c *Client) Block(ctx context.Context, height uint64) (Block, error) {
	var b Block
	return b, c.getJSON(ctx, "/v1/chain/blocks/"+strconv.FormatUint(height, 10), nil, &b)
}

// Validators asks for the set in force.
func (c *Client) Validators(ctx context.Context) (Validators, error) {
	var v Validators
	return v, c.getJSON(ctx, "/v1/chain/validators", nil, &v)
}

// Executors asks for the peers admitted to execute, and what they offer.
func (c *Client) Executors(ctx context.Context) ([]Executor, error) {
	var l []Executor
	return l, c.getJSON(ctx, "/v1/chain/executors", nil, &l)
}

// Genesis asks for the canonical genesis document.
func (c *Client) Genesis(ctx context.Context) ([]byte, error) {
	r, _, err := c.stream(ctx, "/v1/chain/genesis", nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the genesis document: %w", err)
	}
	return b, nil
}

// Evidence asks what was proved against validators.
func (c *Client) Evidence(ctx context.Context) ([]Evidence, error) {
	var l []Evidence
	return l, c.getJSON(ctx, "/v1/chain/evidence", nil, &l)
}

// Trust asks for the trust file of an epoch's validators, LatestEpoch for those in force. It is worth as much as the node
// that it comes from.
func (c *Client) Trust(ctx context.Context, epoch uint64) (*TrustFile, error) {
	v := url.Values{}
	switch epoch {
	case 0:
	case LatestEpoch:
		v.Set("epoch", "latest")
	default:
		v.Set("epoch", strconv.FormatUint(epoch, 10))
	}
	raw, err := c.document(ctx, "/v1/chain/trust", v, receipt.MaxTrustBytes)
	if err != nil {
		return nil, err
	}
	return receipt.ParseTrust(raw)
}

func (c *Client) document(ctx context.Context, path string, v url.Values, limit int) ([]byte, error) {
	r, _, err := c.stream(ctx, path, v)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the node's answer to %s: %w", path, err)
	}
	return raw, nil
}

// Events calls f with each event of q; with q.Follow until ctx ends or f returns an error.
func (c *Client) Events(ctx context.Context, q EventQuery, f func(*Event) error) error {
	v := heights(q.From, q.To)
	if q.Follow {
		v.Set("follow", "true")
	}
	if !q.Subject.IsZero() {
		v.Set("subject", q.Subject.String())
	}
	return lines(c, ctx, "/v1/chain/events", v, f)
}

// Audit opens an audit export, which the caller closes. A stream that ends with an error is not a whole one.
func (c *Client) Audit(ctx context.Context, q AuditQuery) (io.ReadCloser, error) {
	v := heights(q.From, q.To)
	if q.Format != "" {
		v.Set("format", q.Format)
	}
	r, _, err := c.stream(ctx, "/v1/audit", v)
	return r, err
}

// Jobs lists a page of jobs.
func (c *Client) Jobs(ctx context.Context, q JobQuery) (JobList, error) {
	v := url.Values{}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Cursor != "" {
		v.Set("cursor", q.Cursor)
	}
	if q.State != "" {
		v.Set("state", q.State)
	}
	if q.Kind != "" {
		v.Set("kind", q.Kind)
	}
	var l JobList
	return l, c.getJSON(ctx, "/v1/jobs", v, &l)
}

// Job asks for a job by id or unambiguous prefix.
func (c *Client) Job(ctx context.Context, ref string) (Job, error) {
	var j Job
	return j, c.getJSON(ctx, "/v1/jobs/"+url.PathEscape(ref), nil, &j)
}

// errStop ends a stream that has said all.
var errStop = errors.New("stop")

// JobEvents calls f with every stage of a job, without the heartbeats, until the job has ended. It returns an error if
// the stream breaks off before; asking again begins at the first stage.
func (c *Client) JobEvents(ctx context.Context, ref string, f func(*JobEvent) error) error {
	err := lines(c, ctx, "/v1/jobs/"+url.PathEscape(ref)+"/events", nil, func(e *JobEvent) error {
		if e.Stage == StageHeartbeat {
			return nil
		}
		if err := f(e); err != nil {
			return err
		}
		if e.Ended() {
			return errStop
		}
		return nil
	})
	switch {
	case errors.Is(err, errStop):
		return nil
	case err == nil:
		return fmt.Errorf("job %s: the node ended the stream of stages early", ref)
	}
	return err
}

// JobOutput opens an output of a sealed job, which the caller closes, and gives its length. The caller checks the
// bytes against the receipt.
func (c *Client) JobOutput(ctx context.Context, ref, name string) (io.ReadCloser, int64, error) {
	return c.stream(ctx, "/v1/jobs/"+url.PathEscape(ref)+"/outputs/"+escapeName(name), nil)
}

// escapeName escapes the segments of an output's name, and keeps its slashes.
func escapeName(name string) string {
	s := strings.Split(name, "/")
	for i := range s {
		s[i] = url.PathEscape(s[i])
	}
	return strings.Join(s, "/")
}

// Receipt asks for a sealed job's receipt with all handovers. It is parsed, not verified: receipt.Verify does that.
func (c *Client) Receipt(ctx context.Context, ref string) (*Receipt, error) {
	return c.ReceiptSince(ctx, ref, 0)
}

// ReceiptSince is Receipt with the handovers from an epoch on: what a trust file of that epoch needs, and less to carry.
func (c *Client) ReceiptSince(ctx context.Context, ref string, epoch uint64) (*Receipt, error) {
	v := url.Values{}
	if epoch > 0 {
		v.Set("since", strconv.FormatUint(epoch, 10))
	}
	raw, err := c.document(ctx, "/v1/receipts/"+url.PathEscape(ref), v, receipt.MaxReceiptBytes)
	if err != nil {
		return nil, err
	}
	return receipt.Parse(raw)
}

// PlanSQL asks the node to prepare a SQL job. A refused statement is an *Error with its SQL set.
func (c *Client) PlanSQL(ctx context.Context, req PlanRequest) (Plan, error) {
	var p Plan
	return p, c.json(ctx, http.MethodPost, "/v1/sql/plan", nil, &req, &p)
}

// PlanNative asks the node to prepare a job that runs a program in an image.
func (c *Client) PlanNative(ctx context.Context, req NativeRequest) (Plan, error) {
	var p Plan
	return p, c.json(ctx, http.MethodPost, "/v1/native/plan", nil, &req, &p)
}

// Datasets lists the newest version of every data set.
func (c *Client) Datasets(ctx context.Context) ([]Dataset, error) {
	var l []Dataset
	return l, c.getJSON(ctx, "/v1/datasets", nil, &l)
}

// Dataset asks for one data set by name, name@version or name@sha256:digest.
func (c *Client) Dataset(ctx context.Context, ref string) (DatasetDetail, error) {
	var d DatasetDetail
	return d, c.getJSON(ctx, "/v1/datasets/"+url.PathEscape(ref), nil, &d)
}

// SniffDataset asks the node to propose a manifest for uploaded files.
func (c *Client) SniffDataset(ctx context.Context, req SniffRequest) (SniffResult, error) {
	var s SniffResult
	return s, c.json(ctx, http.MethodPost, "/v1/datasets/sniff", nil, &req, &s)
}

// Images lists the newest version of every image.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var l []Image
	return l, c.getJSON(ctx, "/v1/images", nil, &l)
}

// Image asks for one image by name, name@version or name@sha256:digest.
func (c *Client) Image(ctx context.Context, ref string) (ImageDetail, error) {
	var d ImageDetail
	return d, c.getJSON(ctx, "/v1/images/"+url.PathEscape(ref), nil, &d)
}

// PutBlob uploads exactly size bytes of r, whose plain SHA-256 is d, and returns once the node has them durably.
func (c *Client) PutBlob(ctx context.Context, d digest.Digest, size uint64, r io.Reader) (BlobStored, error) {
	var b BlobStored
	if size > 1<<62 {
		return b, fmt.Errorf("blob %s: %d bytes are too many", d.Short(), size)
	}
	q := url.Values{"bytes": {strconv.FormatUint(size, 10)}, "sha256": {d.String()}}
	body := io.Reader(http.NoBody)
	if size > 0 {
		body = io.NopCloser(io.LimitReader(r, int64(size)))
	}
	resp, err := c.do(ctx, http.MethodPut, "/v1/blobs", q, "application/octet-stream", body, int64(size))
	if err != nil {
		return b, err
	}
	defer resp.Body.Close()
	return b, readJSON(resp, "/v1/blobs", &b)
}

// StatBlob asks for the size of a blob that the node holds; an *Error of CodeNotFound if it does not.
func (c *Client) StatBlob(ctx context.Context, d digest.Digest) (uint64, error) {
	resp, err := c.do(ctx, http.MethodHead, "/v1/blobs/"+d.String(), nil, "", nil, -1)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound { // an answer to HEAD has no body
		return 0, NotFound("", "blob %s: the node does not hold it", d.Short())
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.ContentLength < 0 {
		return 0, fmt.Errorf("blob %s: the node does not say its size", d.Short())
	}
	return uint64(resp.ContentLength), nil
}

// GetBlob opens a blob, which the caller closes and checks against d.
func (c *Client) GetBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	return c.stream(ctx, "/v1/blobs/"+d.String(), nil)
}

// Network asks the local node about its mesh. With check, the node asks its peers first whether they reach it.
func (c *Client) Network(ctx context.Context, check bool) (Network, error) {
	var n Network
	if check {
		return n, c.json(ctx, http.MethodPost, "/v1/admin/network/check", nil, nil, &n)
	}
	return n, c.json(ctx, http.MethodGet, "/v1/admin/network", nil, nil, &n)
}

// Revoke gives the local node a signed revocation of an invitation.
func (c *Client) Revoke(ctx context.Context, revocation []byte) (RevocationTaken, error) {
	var t RevocationTaken
	return t, c.json(ctx, http.MethodPost, "/v1/admin/network/revocations", nil, &Revocation{Revocation: revocation}, &t)
}

// Drain asks the local node to take no more work, or to take it again.
func (c *Client) Drain(ctx context.Context, on bool) (DrainStatus, error) {
	var s DrainStatus
	return s, c.json(ctx, http.MethodPost, "/v1/admin/drain", nil, &Drain{On: on}, &s)
}
