package rpc

import "encoding/json"

// Event tells of a committed block.
type Event struct {
	Height   int64 `json:"height,string"`
	Txs      int64 `json:"num_txs,string"`
	Proposer int   `json:"proposer"` // index of the validator; 0 where the chain does not tell
	Syncs    int64 `json:"syncs"`    // of the validator's log by then; 0 where the chain does not tell
}

// Status says where a validator stands.
type Status struct {
	Height int64
	Peers  int   // 0 where the chain tells it elsewhere
	Syncs  int64 // of the log so far
}

// request is a call over the WebSocket.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Tx    []byte `json:"tx"`
		Query string `json:"query"`
	} `json:"params"`
}

// message is whatever comes back over the WebSocket.
type message struct {
	Error  *failure `json:"error"`
	Result struct {
		Data struct {
			Value Event `json:"value"`
		} `json:"data"`
	} `json:"result"`
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    string `json:"data"`
}

// blockAnswer and statusAnswer have no more of CometBFT's fields than are read.
type blockAnswer struct {
	Error  *failure `json:"error,omitempty"`
	Result struct {
		Block struct {
			Data struct {
				Txs [][]byte `json:"txs"`
			} `json:"data"`
		} `json:"block"`
	} `json:"result"`
}

type statusAnswer struct {
	Result struct {
		Sync struct {
			Height int64 `json:"latest_block_height,string"`
		} `json:"sync_info"`
		Peers int   `json:"peers"`
		Syncs int64 `json:"syncs"`
	} `json:"result"`
}

// Of all block events this one is the lightest that counts the transactions.
const blockEvents = "tm.event='NewBlockEvents'"

const (
	methodSubmit    = "broadcast_tx_async"
	methodSubscribe = "subscribe"
	socketPath      = "/websocket"
)
