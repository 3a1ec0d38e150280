package driver

import (
	"errors"
	"fmt"
	"sort"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// recover brings store, application, log and replica to where the node was.
func (d *Driver) recover() error {
	err := d.reopen()
	if errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w; move the database with the blocks away, but not the log in %s, and start again: the node fetches the chain from its peers", err, d.cfg.Dir)
	}
	return err
}

func (d *Driver) reopen() error {
	head, history, err := d.openChain()
	if err != nil {
		return err
	}
	if err := d.replayApp(head.Block); err != nil {
		return err
	}
	if err := d.recall(head.Block.Header.Height); err != nil {
		return err
	}
	d.tree = newTree(head.Block, history)
	d.count.height.Store(uint64(head.Block.Header.Height))
	safety, blocks, err := d.readLog()
	if err != nil {
		return err
	}
	if err := d.openTerm(&head.Block.Header); err != nil {
		return err
	}
	if t := d.term.Load(); !d.self.IsZero() && !t.member {
		d.cfg.Log.Info("this node's validator key is not in the set: it follows the chain, and validates if the validators let it in", "key", d.self.Short(), "epoch", uint64(t.epoch))
	}
	rec, err := d.recovery(head)
	if err != nil {
		return err
	}
	// Parents before children; what does not lead up from the head was abandoned, or its parent never became durable.
	sort.SliceStable(blocks, func(i, j int) bool { return blocks[i].Header.Height < blocks[j].Header.Height })
	for _, b := range blocks {
		id := b.ID()
		if b.Header.Height <= head.Block.Header.Height || b.Header.Epoch != d.own.Epoch() || d.tree.get(b.Header.Parent) == nil || d.tree.get(id) != nil {
			continue
		}
		if err := d.execute(b, id, idsOf(b.Txs), nil); err != nil {
			return fmt.Errorf("recover from %s: %w", d.cfg.Dir, err)
		}
		rec.Blocks = append(rec.Blocks, b)
	}
	if err := d.newReplica(safety, rec); err != nil {
		return fmt.Errorf("recover from %s: %w", d.cfg.Dir, err)
	}
	if err := d.ownPast(head); err != nil {
		return err
	}
	d.pace = pace{base: d.cfg.BaseTimeout, most: d.cfg.MaxTimeout, idle: d.idle(), poll: d.cfg.WorkPoll}
	return nil
}

// otherFolder is what to do with a data folder of another version: it is of use for its own chain alone.
const otherFolder = "give this node a data folder of its own for the new chain; keep the old one, it holds what this node's keys have signed"

// openChain gives the store's head, after putting the genesis block into an empty one.
func (d *Driver) openChain() (Committed, *merkle.Frontier, error) {
	store := d.cfg.Store
	head, history, ok, err := store.Head()
	if err != nil {
		return head, nil, fmt.Errorf("chain store: %w", err)
	}
	if !ok {
		g := Committed{Block: d.genesis, Finality: &consensus.Finality{Headers: []consensus.Header{d.genesis.Header}, QC: consensus.GenesisQC(d.genesis)}}
		if err := store.Put([]Committed{g}); err != nil {
			return head, nil, fmt.Errorf("chain store: put the genesis block: %w", err)
		}
		if err := store.Sync(); err != nil {
			return head, nil, fmt.Errorf("chain store: %w", err)
		}
		if head, history, _, err = store.Head(); err != nil {
			return head, nil, fmt.Errorf("chain store: %w", err)
		}
	}
	first, err := store.Block(0)
	if err != nil {
		return head, nil, fmt.Errorf("chain store: %w", err)
	}
	if v := first.Block.Header.Version; v != consensus.ProtocolVersion {
		return head, nil, &consensus.VersionError{What: "the chain store", Version: v, Next: otherFolder}
	}
	if id := first.Block.ID(); id != d.genesis.ID() {
		return head, nil, fmt.Errorf("the chain store holds chain %s (genesis block %s), the genesis given is %s (%s): use the data folder of this chain, or the genesis that the folder was made with",
			first.Block.Header.ChainID.Short(), id.Short(), d.cfg.Genesis.DisplayName(), d.genesis.ID().Short())
	}
	return head, history, nil
}

// replayApp commits again what the application had not made durable.
func (d *Driver) replayApp(head *consensus.Block) error {
	app := d.cfg.App
	at := app.Height()
	if at > head.Header.Height {
		return fmt.Errorf("the application's state is of block %d, the chain store ends at %d: one of them was restored from elsewhere; remove the application's state so that it is built again", at, head.Header.Height)
	}
	for h := at + 1; h <= head.Header.Height; h++ {
		x, err := d.cfg.Store.Block(h)
		if err != nil {
			return fmt.Errorf("chain store: replay block %d: %w", h, err)
		}
		b, id := x.Block, x.Block.ID()
		out, err := app.Execute(blockContext(&b.Header), b.Txs)
		if err != nil {
			return fmt.Errorf("replay block %d: %w", h, err)
		}
		if out.StateRoot != b.Header.StateRoot || out.EventRoot != b.Header.EventRoot || (out.Next != nil) != b.Header.Closes() {
			return fmt.Errorf("replay block %d: %w: remove the application's state so that it is built again", h, errOutcome)
		}
		app.Keep(id, out.Handle)
		if err := app.Commit(b, x.Finality); err != nil {
			return fmt.Errorf("replay block %d: %w", h, err)
		}
	}
	return nil
}

// readLog reads the log, if there is one: a node that never was a validator has none.
func (d *Driver) readLog() (*consensus.SafetyData, []*consensus.Block, error) {
	if d.self.IsZero() {
		return nil, nil, nil
	}
	begun, err := checkOwner(d.cfg.Disk, d.cfg.Dir, d.self)
	if err != nil {
		return nil, nil, err
	}
	segments, err := d.cfg.Disk.List(d.cfg.Dir, walPattern)
	if err != nil || !begun && len(segments) == 0 {
		return nil, nil, err
	}
	return d.openLog()
}

// openLog opens the log and makes the folder this key's: its last safety data, nil for none, and all its blocks.
func (d *Driver) openLog() (*consensus.SafetyData, []*consensus.Block, error) {
	begun, err := checkOwner(d.cfg.Disk, d.cfg.Dir, d.self)
	if err != nil {
		return nil, nil, err
	}
	var safety *consensus.SafetyData
	var blocks []*consensus.Block
	d.wal, err = openWAL(d.cfg.Disk, d.cfg.Dir, d.cfg.SegmentBytes, begun, func(payload []byte) (consensus.Height, error) {
		var e entry
		if err := canon.Unmarshal(payload, &e); err != nil {
			return 0, err
		}
		var top consensus.Height
		for _, raw := range e.Blocks {
			b, err := consensus.DecodeBlock(raw)
			if err != nil {
				return 0, err
			}
			if v := b.Header.Version; v != consensus.ProtocolVersion {
				return 0, &consensus.VersionError{What: "block " + b.ID().Short(), Version: v, Next: otherFolder}
			}
			if b.Header.ChainID != d.chain {
				return 0, fmt.Errorf("the log is of chain %s, this node is on %s: use the data folder of this chain", b.Header.ChainID.Short(), d.cfg.Genesis.DisplayName())
			}
			blocks = append(blocks, b)
			top = max(top, b.Header.Height)
		}
		for _, raw := range e.Safety {
			s, err := consensus.DecodeSafety(raw)
			if err != nil {
				return 0, err
			}
			safety = s
		}
		return top, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("write-ahead log: %w", err)
	}
	if safety != nil && len(safety.LastVote) == 1 {
		if voter := safety.LastVote[0].Voter; voter != d.self {
			return nil, nil, fmt.Errorf("the log in %s is of validator key %s, this node has key %s: give it its own folder, or restore the right key", d.cfg.Dir, voter.Short(), d.self.Short())
		}
	}
	if !begun {
		if err := claim(d.cfg.Disk, d.cfg.Dir, d.self); err != nil {
			return nil, nil, err
		}
	}
	return safety, blocks, nil
}
