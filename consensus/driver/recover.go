package driver

import (
	"fmt"
	"sort"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// recover brings store, application, log and replica to where the node was.
func (d *Driver) recover() error {
	head, history, err := d.openChain()
	if err != nil {
		return err
	}
	if err := d.replayApp(head.Block); err != nil {
		return err
	}
	d.tree = newTree(head.Block, history)
	d.count.height.Store(uint64(head.Block.Header.Height))
	safety, blocks, err := d.openLog()
	if err != nil {
		return err
	}
	rec, err := d.recovery(head, *safety)
	if err != nil {
		return err
	}
	// Parents before children; what does not lead up from the head was abandoned, or its parent never became durable.
	sort.SliceStable(blocks, func(i, j int) bool { return blocks[i].Header.Height < blocks[j].Header.Height })
	for _, b := range blocks {
		id := b.ID()
		if b.Header.Height <= head.Block.Header.Height || d.tree.get(b.Header.Parent) == nil || d.tree.get(id) != nil {
			continue
		}
		if err := d.execute(b, id); err != nil {
			return fmt.Errorf("recover from %s: %w", d.cfg.Dir, err)
		}
		rec.Blocks = append(rec.Blocks, b)
	}
	d.replica, err = consensus.New(consensus.Config{Key: d.cfg.Key, Verifier: d.own}, rec)
	if err != nil {
		return fmt.Errorf("recover from %s: %w", d.cfg.Dir, err)
	}
	d.pace = pace{base: d.cfg.BaseTimeout, most: d.cfg.MaxTimeout, idle: d.idle(), poll: d.cfg.WorkPoll}
	return nil
}

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
			return fmt.Errorf("replay block %d: %w", h, err)
		}
		b, id := x.Block, x.Block.ID()
		out, err := app.Execute(blockContext(&b.Header), b.Txs)
		if err != nil {
			return fmt.Errorf("replay block %d: %w", h, err)
		}
		if out.StateRoot != b.Header.StateRoot || out.EventRoot != b.Header.EventRoot {
			return fmt.Errorf("replay block %d: %w: remove the application's state so that it is built again", h, errOutcome)
		}
		app.Keep(id, out.Handle)
		if err := app.Commit(b, x.Finality); err != nil {
			return fmt.Errorf("replay block %d: %w", h, err)
		}
	}
	return nil
}

// openLog reads the log: the last safety data and all blocks. A follower has none.
func (d *Driver) openLog() (*consensus.SafetyData, []*consensus.Block, error) {
	fresh := consensus.FreshSafety(d.genesis)
	safety := &fresh
	if d.self.IsZero() {
		return safety, nil, nil
	}
	var blocks []*consensus.Block
	var err error
	d.wal, err = openWAL(d.cfg.Dir, d.cfg.SegmentBytes, func(payload []byte) (consensus.Height, error) {
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
	return safety, blocks, nil
}
