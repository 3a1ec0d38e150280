// Command bpi-kv is a validator of a key-value chain on loopback: the consensus driver, the mempool, the mesh and the
// database as a node has them, and in place of ENC an application that checks a signature and stores a pair. It is what
// `make bench-consensus` sets beside CometBFT's kvstore, and speaks to clients as CometBFT does (package rpc).
//
// All validators of a network derive their keys and the genesis from -n and -net, and find each other by address:
// validator i listens at NET.(i+2), on port 26656 for its peers and 26657 for clients.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// options are what the flags say.
type options struct {
	n, i      int
	net       string // first three bytes of the addresses
	dir       string
	fastPath  bool
	delay     time.Duration // one way, on every message that leaves
	blockTime time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 4, "validators of the network")
	flag.IntVar(&o.i, "i", 0, "which of them this one is, from 0")
	flag.StringVar(&o.net, "net", "127.77.1", "first three bytes of the validators' addresses")
	flag.StringVar(&o.dir, "dir", "", "data folder of this validator")
	flag.BoolVar(&o.fastPath, "fast-path", true, "streams between validators; without them gossip carries everything")
	flag.DurationVar(&o.delay, "delay", 0, "hold each message back for so long before it leaves")
	flag.DurationVar(&o.blockTime, "block-time", 5*time.Second, "longest time between blocks without work")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bpi-kv:", err)
		os.Exit(1)
	}
}

// run is the validator until ctx ends.
func run(ctx context.Context, o options) error {
	if o.n < 1 || o.n > 200 || o.i < 0 || o.i >= o.n || o.dir == "" {
		return fmt.Errorf("validator %d of %d in folder %q: want -i below -n, at most 200 of them, and -dir", o.i, o.n, o.dir)
	}
	listener, err := net.Listen("tcp", o.address(o.i)+":26657")
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	defer listener.Close()
	v, err := newValidator(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mux := http.NewServeMux()
	mux.Handle("/", v.server)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v.driver.Stats()) // the client is gone otherwise
	})
	server := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		if !errors.Is(err, http.ErrServerClosed) {
			err = fmt.Errorf("serve clients: %w", err)
			cancel()
		}
		served <- err
	}()
	err = v.run(ctx)
	server.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// address is where a validator listens.
func (o options) address(i int) string { return fmt.Sprintf("%s.%d", o.net, i+2) }

var _ rpc.Chain = (*validator)(nil)
