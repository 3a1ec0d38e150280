package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/blob"
)

// host is a peer's part of the mesh without a node around it.
type host struct {
	*p2p.Host
	store *blob.Store
	ended sync.WaitGroup
}

// openHost assembles a host as a node does: gossip with every topic of consensus, the DHT, the service registry and the
// exchange of blobs. It does nothing yet.
func openHost(cfg p2p.Config, dir string, services p2p.ServicesConfig) (_ *host, err error) {
	h := &host{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.Host, err = p2p.New(cfg); err != nil {
		return nil, err
	}
	if h.store, err = blob.Open(dir, 0); err != nil {
		return nil, err
	}
	p2p.NewExchange(h.Host, h.store)
	if _, err := h.Services(services); err != nil {
		return nil, err
	}
	for _, kind := range driver.MessageKinds() {
		topic, err := h.Join(string(kind), func(sign.PublicKey, []byte) p2p.Verdict { return p2p.Ignore }, p2p.MaxBytes(kind.MaxBytes()))
		if err == nil {
			err = topic.Subscribe(func(sign.PublicKey, []byte) {})
		}
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// run keeps the host in the mesh until close.
func (h *host) run() {
	h.ended.Go(func() { _ = h.Run(context.Background()) })
}

func (h *host) close() {
	if h.Host != nil {
		_ = h.Close()
	}
	h.ended.Wait()
	if h.store != nil {
		_ = h.store.Close()
	}
}

// hostConfig is of a host on loopback, on a port of the kernel's choice.
func hostConfig(network string, bootstrap ...string) (p2p.Config, error) {
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		return p2p.Config{}, fmt.Errorf("make a key: %w", err)
	}
	return p2p.Config{Key: key, Network: network, ListenAddrs: []string{"127.0.0.1"}, EnableEncryption: true, Bootstrap: bootstrap, MaxPeers: 200}, nil
}
