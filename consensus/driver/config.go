package driver

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Config is what a driver is made of. A zero duration or size takes the default named beside it.
type Config struct {
	Dir              string             // data folder, made if absent; this node's alone
	Key              sign.PrivateKey    // validator key: votes while it is in the set; the zero key only follows
	Genesis          *consensus.Genesis // of the chain
	GenesisStateRoot digest.Digest      // of the application's genesis state
	App              App
	Network          Network
	Mempool          Mempool
	Store            Store
	Disk             Disk // for what Dir holds but the lock; nil: the operating system's

	// Check judges transactions without reference to the chain's state, form and signatures, and gives a verdict for each:
	// nil for one that is sound. It must be a function of the bytes, equal on every node, and is called by many goroutines
	// with groups of up to 128, whose signatures it can check together. A validator votes for no block with a transaction
	// that is not sound. nil: every transaction is.
	Check func(txs [][]byte) []error

	NoFastPath    bool          // send everything by gossip
	BaseTimeout   time.Duration // of a view that follows a successful one: 250 ms
	MaxTimeout    time.Duration // 8 s
	WorkPoll      time.Duration // between questions to App.HasWork while idle: 50 ms
	RequestWait   time.Duration // for an answer to one request: 3 s
	MaxBlockBytes int           // of transactions in a block that this node proposes: 1 MiB, at most consensus.MaxBlockBytes
	InlineBytes   int           // of transactions that a proposal carries itself rather than name batches: 16 KiB; negative: none
	BatchBytes    int           // of transactions in a batch: 256 KiB, at most consensus.MaxBatchTxBytes
	BatchWait     time.Duration // for which a batch gathers transactions after the one before: 10 ms
	SegmentBytes  int64         // of the write-ahead log: 16 MiB

	// Snapshots lets a node that is far behind go on from another's state. nil: it executes every block.
	Snapshots Snapshots
	// SnapshotFrom is how many blocks ahead a snapshot must be to be taken while peers still have the blocks: 512.
	SnapshotFrom consensus.Height
	// Load is how many things are going on in the application that will bring transactions soon, such as running jobs: the
	// more, the longer a block waits for company, up to 50 ms. The owner calls it often. nil: a block never waits.
	Load func() int
	// OnCommit is called by the owner after each committed block is in the Store and the App. It must not block. nil: none.
	OnCommit func(b *consensus.Block, proof *consensus.Finality)
	// Penalise reports a node that sent what no honest node sends. It must not block. nil: none.
	Penalise func(node sign.PublicKey, reason string)
	// OnEvidence is called by the owner for each proof that a validator broke the protocol. nil: it is only logged.
	OnEvidence func(consensus.Evidence)
	// OnEpoch is called by the owner when another set has taken over; Driver.Epoch tells of the one at the start. It must
	// not block. nil: none.
	OnEpoch func(consensus.Epoch, *consensus.ValidatorSet)
	// Now is the clock of timestamps; time.Now if nil. Timers use the runtime's.
	Now func() time.Time
	Log *slog.Logger // slog.Default() if nil
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, fmt.Errorf("consensus driver: no data folder")
	case c.Genesis == nil || c.App == nil || c.Network == nil || c.Mempool == nil || c.Store == nil:
		return c, fmt.Errorf("consensus driver: genesis, application, network, mempool and store must all be given")
	case c.MaxBlockBytes < 0 || c.MaxBlockBytes > consensus.MaxBlockBytes:
		return c, fmt.Errorf("consensus driver: blocks of %d bytes: want at most %d", c.MaxBlockBytes, consensus.MaxBlockBytes)
	}
	if err := c.Genesis.Check(); err != nil {
		return c, err
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.BaseTimeout, 250*time.Millisecond)
	def(&c.MaxTimeout, 8*time.Second)
	def(&c.WorkPoll, 50*time.Millisecond)
	def(&c.RequestWait, 3*time.Second)
	def(&c.BatchWait, 10*time.Millisecond)
	if c.SnapshotFrom == 0 {
		c.SnapshotFrom = 512
	}
	if c.MaxBlockBytes == 0 {
		c.MaxBlockBytes = 1 << 20
	}
	if c.Disk == nil {
		c.Disk = osDisk{}
	}
	if c.InlineBytes == 0 {
		c.InlineBytes = 16 << 10
	}
	if c.BatchBytes <= 0 || c.BatchBytes > consensus.MaxBatchTxBytes {
		c.BatchBytes = consensus.MaxBatchTxBytes
	}
	if c.Penalise == nil {
		c.Penalise = func(sign.PublicKey, string) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}
