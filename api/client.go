package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Client speaks to one node. It is safe for concurrent use. Its methods return *Error for what the node refused, and
// other errors for trouble on the way. A context bounds every call; the client adds no time limit of its own but for
// the answer's first byte, which CommandStatus extends by its wait.
type Client struct {
	base  string // "http://host", no slash at the end
	where string // " ADDRESS" of the node for errors; empty if whoever dials knows
	http  *http.Client
}

// maxAnswer bounds a JSON answer that the client reads: a receipt, or a page of jobs.
const maxAnswer = 16 << 20

// NewClient makes a client for base, such as "http://127.0.0.1:3030", over rt; nil means http.DefaultTransport.
func NewClient(base string, rt http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("node address %q: want http://HOST:PORT", base)
	}
	c := &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Client{base: u.Scheme + "://" + u.Host, where: " " + u.Scheme + "://" + u.Host, http: c}, nil
}

// DialContext opens a connection to a node.
type DialContext func(ctx context.Context) (net.Conn, error)

// NewDialClient makes a client over connections that dial opens, such as libp2p streams. Connections are kept alive
// and reused; Close drops the idle ones.
func NewDialClient(dial DialContext) *Client {
	t := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:    32,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 32,
		DisableCompression:    true,
		ExpectContinueTimeout: 2 * time.Second,
	}
	return &Client{base: "http://node", http: &http.Client{Transport: t}}
}

// NewTCPClient makes a client for a node's TCP address, "host:port".
func NewTCPClient(addr string) *Client {
	var d net.Dialer
	c := NewDialClient(func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) })
	c.base, c.where = "http://"+addr, " http://"+addr
	return c
}

// NewUnixClient makes a client for a node's unix socket.
func NewUnixClient(path string) *Client {
	var d net.Dialer
	c := NewDialClient(func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "unix", path) })
	c.where = " unix://" + path
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends a request and gives the response of a success; the caller closes its body.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader, size int64) (*http.Response, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if size >= 0 {
		req.ContentLength = size
	}
	if size > 64<<10 {
		req.Header.Set("Expect", "100-continue") // a refusal must not drown in the body
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		switch {
		case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			err = fmt.Errorf("no answer in the time given: %w", ctx.Err())
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			err = fmt.Errorf("it broke off before it answered, and may have stopped: its log says why (%w)", err)
		}
		return nil, fmt.Errorf("ask the node%s: %w", c.where, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, Code: CodeInternal, Message: "the node answered " + resp.Status}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var b struct {
		Error Problem `json:"error"`
	}
	if err == nil && json.Unmarshal(raw, &b) == nil && b.Error.Code != "" {
		e.Code, e.Message, e.Next, e.SQL = b.Error.Code, b.Error.Message, b.Error.Next, b.Error.SQL
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && s < 86400 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// getJSON reads an answer into v.
func (c *Client) getJSON(ctx context.Context, path string, query url.Values, v any) error {
	return c.json(ctx, http.MethodGet, path, query, nil, v)
}

// json sends in as JSON, if not nil, and reads the answer into v.
func (c *Client) json(ctx context.Context, method, path string, query url.Values, in, v any) error {
	var body io.Reader
	size, contentType := int64(-1), ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the node: %w", err)
		}
		body, size, contentType = bytes.NewReader(b), int64(len(b)), "application/json"
	}
	resp, err := c.do(ctx, method, path, query, contentType, body, size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readJSON(resp, path, v)
}

func readJSON(resp *http.Response, path string, v any) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the node's answer to %s: %w", path, err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("read the node's answer to %s: more than %d bytes", path, maxAnswer)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read the node's answer to %s: %w", path, err)
	}
	return nil
}

// lines calls f with every object of an NDJSON answer.
func lines[T any](c *Client, ctx context.Context, path string, query url.Values, f func(*T) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, query, "", nil, -1)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := &objects{r: resp.Body}
	dec := json.NewDecoder(body)
	for {
		v := new(T)
		body.came = 0
		switch err := dec.Decode(v); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the node's answer to %s: %w", path, err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
}

// objects bounds what comes without an object of it being whole: the answer may be a stranger's.
type objects struct {
	r    io.Reader
	came int
}

// Read implements io.Reader.
func (o *objects) Read(p []byte) (int, error) {
	if o.came > maxAnswer {
		return 0, fmt.Errorf("an object of more than %d bytes", maxAnswer)
	}
	n, err := o.r.Read(p)
	o.came += n
	return n, err
}

// stream gives an answer's body as it comes.
func (c *Client) stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, int64, error) {
	resp, err := c.do(ctx, http.MethodGet, path, query, "", nil, -1)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

func heights(from, to uint64) url.Values {
	q := url.Values{}
	if from != 0 {
		q.Set("from", strconv.FormatUint(from, 10))
	}
	if to != 0 {
		q.Set("to", strconv.FormatUint(to, 10))
	}
	return q
}
