package p2p

import (
	"github.com/libp2p/go-libp2p"
	ma "github.com/multiformats/go-multiaddr"
)

// wire is what a host of a simulation has in place of sockets: everything else of it is as in a node.
type wire struct {
	extra  []libp2p.Option
	listen ma.Multiaddr
}

func (w *wire) options() []libp2p.Option {
	if w == nil {
		return nil
	}
	return w.extra
}
