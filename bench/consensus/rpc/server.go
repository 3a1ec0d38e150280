package rpc

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/gorilla/websocket"
)

// Chain is what a Server speaks for. Its methods are safe for concurrent use.
type Chain interface {
	// Submit takes transactions in and returns before they are committed. Each error says why one was refused.
	Submit(txs [][]byte) []error
	// Block gives the transactions of a committed block.
	Block(height int64) ([][]byte, error)
	// Status says where the validator stands.
	Status() Status
}

// Server answers for a Chain over HTTP and WebSocket. It is an http.Handler.
type Server struct {
	chain Chain
	mux   *http.ServeMux
	up    websocket.Upgrader

	mu   sync.Mutex // guards subs
	subs map[*peer]bool
}

// outQueue bounds what waits to be written to one client. Answers wait for room, and so the client for its answers;
// a subscriber with no room is disconnected, because an event that is missing would falsify what it counts.
const outQueue = 4096

// peer is one WebSocket and its queue.
type peer struct {
	ws  *websocket.Conn
	out chan []byte
	end chan struct{} // closed when the reader has ended
}

// NewServer makes a server for chain.
func NewServer(chain Chain) *Server {
	s := &Server{chain: chain, mux: http.NewServeMux(), subs: map[*peer]bool{}}
	s.mux.HandleFunc("GET "+socketPath, s.socket)
	s.mux.HandleFunc("GET /block", s.block)
	s.mux.HandleFunc("GET /status", s.status)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Committed tells subscribers of a block. It does not wait for them.
func (s *Server) Committed(e Event) {
	raw := eventMessage(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.subs {
		select {
		case p.out <- raw:
		default:
			delete(s.subs, p)
			p.ws.Close()
		}
	}
}

func eventMessage(e Event) []byte {
	return answer(json.RawMessage("1"), map[string]any{
		"query": blockEvents,
		"data":  map[string]any{"type": "tendermint/event/NewBlockEvents", "value": e},
	}, nil)
}

// answer spells an answer; its parts are of types that always can be spelled.
func answer(id json.RawMessage, result any, err error) []byte {
	if len(id) == 0 {
		id = json.RawMessage("null")
	}
	m := map[string]any{"jsonrpc": "2.0", "id": id}
	if err != nil {
		m["error"] = failure{Code: -32603, Message: "Internal error", Data: err.Error()}
	} else {
		m["result"] = result
	}
	raw, e := json.Marshal(m)
	if e != nil {
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request","data":"id"}}`)
	}
	return raw
}

// accepted is spelled by hand: one is sent for each transaction.
var accepted = []byte(`{"jsonrpc":"2.0","id":1,"result":{"code":0,"data":"","log":"","codespace":""}}`)

func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	ws, err := s.up.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	p := &peer{ws: ws, out: make(chan []byte, outQueue), end: make(chan struct{})}
	var writer sync.WaitGroup
	writer.Go(func() {
		defer ws.Close()
		for {
			select {
			case m := <-p.out:
				if ws.WriteMessage(websocket.TextMessage, m) != nil {
					return
				}
			case <-p.end:
				return
			}
		}
	})
	gone := make(chan struct{})
	go func() { writer.Wait(); close(gone) }()
	defer func() {
		s.mu.Lock()
		delete(s.subs, p)
		s.mu.Unlock()
		close(p.end)
		<-gone
	}()
	calls := make(chan request, maxTogether)
	var worker sync.WaitGroup
	worker.Go(func() { s.work(p, calls, gone) })
	defer worker.Wait()
	defer close(calls)
	for {
		_, raw, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var req request
		if err := json.Unmarshal(raw, &req); err != nil {
			req = request{Method: "unreadable: " + err.Error()}
		}
		select {
		case calls <- req:
		case <-gone:
			return
		}
	}
}

// maxTogether bounds the transactions of one client that are taken in together.
const maxTogether = 512

// work answers calls in their order. The transactions that came while others were taken in are taken in together.
func (s *Server) work(p *peer, calls <-chan request, gone <-chan struct{}) {
	say := func(m []byte) bool {
		select {
		case p.out <- m:
			return true
		case <-gone:
			return false
		}
	}
	var group []request
	var txs [][]byte
	for req := range calls {
		group, txs = append(group[:0], req), txs[:0]
		for more := true; more && len(group) < maxTogether; {
			select {
			case r, ok := <-calls:
				if more = ok; ok {
					group = append(group, r)
				}
			default:
				more = false
			}
		}
		for _, r := range group {
			if r.Method == methodSubmit {
				txs = append(txs, r.Params.Tx)
			}
		}
		var errs []error
		if len(txs) > 0 {
			errs = s.chain.Submit(txs)
		}
		for _, r := range group {
			m := accepted
			if r.Method != methodSubmit {
				m = s.call(p, r)
			} else {
				if errs[0] != nil {
					m = answer(r.ID, nil, errs[0])
				}
				errs = errs[1:]
			}
			if !say(m) {
				for range calls { // the reader is about to end
				}
				return
			}
		}
	}
}

func (s *Server) call(p *peer, req request) []byte {
	switch req.Method {
	case methodSubscribe:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subs[p] = true
		return answer(req.ID, struct{}{}, nil)
	}
	return answer(req.ID, nil, fmt.Errorf("method %.80q: want %s or %s", req.Method, methodSubmit, methodSubscribe))
}

func (s *Server) block(w http.ResponseWriter, r *http.Request) {
	var a blockAnswer
	height, err := strconv.ParseInt(r.URL.Query().Get("height"), 10, 64)
	if err == nil {
		a.Result.Block.Data.Txs, err = s.chain.Block(height)
	}
	if err != nil {
		a.Error = &failure{Code: -32603, Message: "Internal error", Data: err.Error()}
	}
	reply(w, &a)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	var a statusAnswer
	st := s.chain.Status()
	a.Result.Sync.Height, a.Result.Peers, a.Result.Syncs = st.Height, st.Peers, st.Syncs
	reply(w, &a)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone otherwise
}
