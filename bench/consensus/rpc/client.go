package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Submitter sends transactions to one validator over one connection. Submit is called by one goroutine.
type Submitter struct {
	ws      *websocket.Conn
	buf     []byte
	refused atomic.Int64
	reader  sync.WaitGroup
}

// NewSubmitter connects to a validator's RPC at host:port. Close it.
func NewSubmitter(ctx context.Context, host string) (*Submitter, error) {
	ws, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	s := &Submitter{ws: ws}
	s.reader.Go(func() {
		var head [256]byte
		for {
			_, r, err := ws.NextReader()
			if err != nil {
				return
			}
			// The name of the field stands in front of everything that a server chooses.
			n, _ := r.Read(head[:])
			if bytes.Contains(head[:n], []byte(`"error":`)) {
				s.refused.Add(1)
			}
		}
	})
	return s, nil
}

// Submit writes one transaction. It waits for room in the connection, and for no answer.
func (s *Submitter) Submit(tx []byte) error {
	b := append(s.buf[:0], `{"jsonrpc":"2.0","id":1,"method":"`+methodSubmit+`","params":{"tx":"`...)
	b = base64.StdEncoding.AppendEncode(b, tx)
	s.buf = append(b, `"}}`...)
	return s.ws.WriteMessage(websocket.TextMessage, s.buf)
}

// Until bounds all writes: those that have not gone out by then fail, and the connection with them.
func (s *Submitter) Until(t time.Time) error { return s.ws.SetWriteDeadline(t) }

// Refused is how many transactions the validator has answered with an error so far.
func (s *Submitter) Refused() int { return int(s.refused.Load()) }

// Close ends the connection.
func (s *Submitter) Close() {
	s.ws.Close()
	s.reader.Wait()
}

// Seen is an event and when it came.
type Seen struct {
	Event
	At time.Time
}

// Watcher collects the blocks that one validator commits.
type Watcher struct {
	ws     *websocket.Conn
	reader sync.WaitGroup

	mu     sync.Mutex // guards what follows
	seen   []Seen
	txs    int64
	err    error
	change chan struct{} // closed and replaced at each event
}

// Watch subscribes at a validator's RPC at host:port and returns when the subscription stands. Close it.
func Watch(ctx context.Context, host string) (*Watcher, error) {
	ws, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	call := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"%s","params":{"query":"%s"}}`, methodSubscribe, blockEvents)
	if err := ws.WriteMessage(websocket.TextMessage, []byte(call)); err != nil {
		ws.Close()
		return nil, fmt.Errorf("watch %s: %w", host, err)
	}
	w := &Watcher{ws: ws, change: make(chan struct{})}
	ready := make(chan error, 1)
	w.reader.Go(func() { w.read(ready) })
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("watch %s: %w", host, err)
	}
	return w, nil
}

// read collects events until the connection ends. The answer to the subscription is the one message that tells of no
// block; events may come before it.
func (w *Watcher) read(ready chan<- error) {
	answered := false
	for {
		e, at, err := w.next()
		if !answered && (err != nil || e.Height == 0) {
			answered = true
			ready <- err
		}
		w.mu.Lock()
		if err != nil {
			w.err = err
		} else if e.Height > 0 {
			w.seen = append(w.seen, Seen{e, at})
			w.txs += e.Txs
		}
		close(w.change)
		w.change = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (w *Watcher) next() (Event, time.Time, error) {
	_, raw, err := w.ws.ReadMessage()
	at := time.Now() // before it is parsed
	if err != nil {
		return Event{}, at, err
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return Event{}, at, fmt.Errorf("event %.200s: %w", raw, err)
	}
	if m.Error != nil {
		return Event{}, at, fmt.Errorf("%s: %s", m.Error.Message, m.Error.Data)
	}
	return m.Result.Data.Value, at, nil
}

// Seen gives a copy of the events so far, in order, and how many transactions they hold in sum.
func (w *Watcher) Seen() ([]Seen, int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Seen(nil), w.seen...), w.txs
}

// Await waits until the blocks seen hold n transactions, until none of them has come for quiet, or until ctx ends, and
// says how many there are then. The error is that the connection broke.
func (w *Watcher) Await(ctx context.Context, n int64, quiet time.Duration) (int64, error) {
	patience := time.NewTimer(quiet)
	defer patience.Stop()
	last := int64(-1)
	for {
		w.mu.Lock()
		txs, err, change := w.txs, w.err, w.change
		w.mu.Unlock()
		if err != nil || txs >= n {
			return txs, err
		}
		if txs != last {
			last = txs
			patience.Reset(quiet)
		}
		select {
		case <-change:
		case <-patience.C:
			return txs, nil
		case <-ctx.Done():
			return txs, nil
		}
	}
}

// AwaitTxs waits for the first block above a height that holds a transaction.
func (w *Watcher) AwaitTxs(ctx context.Context, above int64) (Seen, error) {
	for {
		w.mu.Lock()
		for _, e := range w.seen {
			if e.Height > above && e.Txs > 0 {
				w.mu.Unlock()
				return e, nil
			}
		}
		err, change := w.err, w.change
		w.mu.Unlock()
		if err != nil {
			return Seen{}, err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return Seen{}, fmt.Errorf("no block with a transaction above height %d: %w", above, ctx.Err())
		}
	}
}

// Close ends the subscription.
func (w *Watcher) Close() {
	w.ws.Close()
	w.reader.Wait()
}

func dial(ctx context.Context, host string) (*websocket.Conn, error) {
	ws, _, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+host+socketPath, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the validator at %s: %w", host, err)
	}
	ws.SetReadLimit(64 << 20)
	return ws, nil
}

// Block fetches the transactions of a committed block.
func Block(ctx context.Context, host string, height int64) ([][]byte, error) {
	var a blockAnswer
	if err := get(ctx, fmt.Sprintf("http://%s/block?height=%d", host, height), &a); err != nil {
		return nil, err
	}
	if a.Error != nil {
		return nil, fmt.Errorf("block %d at %s: %s: %s", height, host, a.Error.Message, a.Error.Data)
	}
	return a.Result.Block.Data.Txs, nil
}

// StatusOf asks a validator where it stands.
func StatusOf(ctx context.Context, host string) (Status, error) {
	var a statusAnswer
	err := get(ctx, "http://"+host+"/status", &a)
	return Status{Height: a.Result.Sync.Height, Peers: a.Result.Peers, Syncs: a.Result.Syncs}, err
}

func get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return errors.Join(fmt.Errorf("GET %s: status %s", url, resp.Status), err)
	}
	return nil
}
