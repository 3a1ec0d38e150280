package node

import (
	"io"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/p2p"
)

// Mesh is how a node's consensus driver speaks to others, for a program that runs the driver behind an application of
// its own and wants the same wires under it. It implements driver.Network.
type Mesh struct{ *mesh }

// NewMesh makes the mesh of a host whose network has these validators.
func NewMesh(host *p2p.Host, set *consensus.ValidatorSet) Mesh {
	m := newMesh(host)
	m.setValidators(set)
	return Mesh{m}
}

// Start joins the topics and opens the links; messages come to d from then on, and none before. They end with the host.
func (m Mesh) Start(d *driver.Driver) error { return m.start(d) }

// OpenDatabase opens a datastore of a folder with the settings of a node's. Closing it makes it durable.
func OpenDatabase(dir string) (interface {
	datastore.Batching
	io.Closer
}, error) {
	return openDatabase(dir)
}
