package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// DAGs lists what the node's blob store holds.
func (c *Client) DAGs(ctx context.Context) (DAGList, error) {
	var l DAGList
	return l, c.getJSON(ctx, "/v1/dags", nil, &l)
}

// DAG asks for one file or folder of the node's blob store, or the state of its fetch.
func (c *Client) DAG(ctx context.Context, cid string) (DAG, error) {
	var d DAG
	return d, c.getJSON(ctx, dagPath(cid, ""), nil, &d)
}

// FetchDAG makes the local node fetch a file or folder from its peers, and returns when it has it.
func (c *Client) FetchDAG(ctx context.Context, cid string) (DAG, error) {
	return c.tell(ctx, cid, "/fetch")
}

// PinDAG makes the local node keep a file or folder that it holds.
func (c *Client) PinDAG(ctx context.Context, cid string) (DAG, error) {
	return c.tell(ctx, cid, "/pin")
}

// UnpinDAG takes that back.
func (c *Client) UnpinDAG(ctx context.Context, cid string) (DAG, error) {
	return c.tell(ctx, cid, "/unpin")
}

func (c *Client) tell(ctx context.Context, cid, what string) (DAG, error) {
	var d DAG
	return d, c.json(ctx, http.MethodPost, dagPath(cid, what), nil, nil, &d)
}

func dagPath(cid, what string) string { return "/v1/dags/" + url.PathEscape(cid) + what }

// MissingBlocks asks which blocks of an upload the node lacks.
func (c *Client) MissingBlocks(ctx context.Context, cids []string) ([]int, error) {
	var m BlocksMissing
	err := c.json(ctx, http.MethodPost, "/v1/dags/missing", nil, &BlocksAsked{CIDs: cids}, &m)
	last := -1
	for _, i := range m.Missing {
		if i <= last || i >= len(cids) {
			return nil, fmt.Errorf("the node answers with nonsense about %d blocks", len(cids))
		}
		last = i
	}
	return m.Missing, err
}

// ImportDAGs uploads a CAR file of exactly size bytes, and returns once the node has what it names, durably. It is not
// pinned.
func (c *Client) ImportDAGs(ctx context.Context, r io.Reader, size uint64) ([]DAG, error) {
	if size > 1<<62 {
		return nil, fmt.Errorf("a CAR file of %d bytes is too large", size)
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/dags", nil, carType, io.NopCloser(io.LimitReader(r, int64(size))), int64(size))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var list []DAG
	return list, readJSON(resp, "/v1/dags", &list)
}

// ExportDAG opens a file or folder that the node holds as a CAR file, which the caller closes, and whose blocks it compares
// with their names. With repeats a block is there wherever it occurs, depth first.
func (c *Client) ExportDAG(ctx context.Context, cid string, repeats bool) (io.ReadCloser, error) {
	var q url.Values
	if repeats {
		q = url.Values{"repeats": {"true"}}
	}
	r, _, err := c.stream(ctx, dagPath(cid, "/car"), q)
	return r, err
}

// Collect makes the local node remove every blob that is neither pinned nor in use.
func (c *Client) Collect(ctx context.Context) (Collected, error) {
	var out Collected
	return out, c.json(ctx, http.MethodPost, "/v1/admin/collect", nil, nil, &out)
}
