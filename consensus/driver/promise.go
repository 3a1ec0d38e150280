package driver

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// entry is one record of the log: blocks that entered the tree, and the safety data after them (none or one).
type entry struct {
	_      struct{} `cbor:",toarray"`
	Safety [][]byte
	Blocks [][]byte
}

// flush makes what was promised durable and then sends. Blocks alone wait for the next promise: until then nothing
// depends on them, and they can be fetched again.
func (d *Driver) flush() error {
	if d.wal == nil || !d.count.validates.Load() {
		d.stores, d.save = nil, nil
	}
	if d.save != nil {
		var e entry
		var top consensus.Height
		size := consensus.MaxSafetyBytes
		write := func() error {
			if err := d.wal.append(canon.Must(&e), top); err != nil {
				return err
			}
			d.count.syncs.Add(1)
			e, top, size = entry{}, 0, consensus.MaxSafetyBytes
			return nil
		}
		for _, b := range d.stores {
			if b.Header.Height <= d.tree.height() {
				continue
			}
			raw := b.Encode()
			if size+len(raw) > walMaxRecord-64 {
				if err := write(); err != nil {
					return err
				}
			}
			e.Blocks = append(e.Blocks, raw)
			top = max(top, b.Header.Height)
			size += len(raw) + 16
		}
		e.Safety = [][]byte{d.save.Encode()}
		if err := write(); err != nil {
			return err
		}
		d.stores, d.save = nil, nil
	}
	sends := d.sends
	d.sends = nil
	for _, s := range sends {
		if err := d.send(s); err != nil {
			return err
		}
	}
	return nil
}

// send puts a message on its paths. Nothing here waits for the network.
func (d *Driver) send(out consensus.Outgoing) error {
	var kind Kind
	gossip := d.cfg.NoFastPath
	switch out.Message.(type) {
	case *consensus.Proposal:
		kind, gossip = KindProposal, true
	case *consensus.Timeout:
		kind, gossip = KindTimeout, true
	case *consensus.Vote:
		kind = KindVote
	case *consensus.Certificates:
		kind = KindCertificates
	default:
		return fmt.Errorf("send: message of type %T", out.Message)
	}
	raw := out.Message.Encode()
	d.seen.learn(messageHash(Direct, kind, raw), Accept) // our own words may come back by gossip
	d.seen.learn(messageHash(Gossiped, kind, raw), Accept)
	if !d.cfg.NoFastPath {
		t := d.term.Load()
		to := t.others
		if !out.To.IsZero() {
			to = []sign.PublicKey{t.peerOf[out.To]}
		}
		for _, node := range to {
			if d.cfg.Network.Send(node, kind, raw) {
				d.count.sent.Add(1)
			} else {
				gossip = true
			}
		}
	}
	if gossip {
		d.gossip(kind, raw)
	}
	return nil
}

func (d *Driver) gossip(kind Kind, raw []byte) {
	if err := d.cfg.Network.Gossip(kind, raw); err != nil {
		d.cfg.Log.Debug("gossip failed", "kind", string(kind), "reason", err)
		return
	}
	d.count.gossiped.Add(1)
}

// announce tells followers of a committed block. Its proposer does, so that one copy goes round and not one of each
// validator's; who misses it learns of the block from the next, or by asking. A closing block every validator announces:
// those who follow are waiting for it, and the next block may be theirs to make.
func (d *Driver) announce(x Committed) {
	h := &x.Block.Header
	if len(x.Finality.Headers) != 1 || !d.count.validates.Load() || h.Proposer != d.self && !h.Closes() {
		return
	}
	raw := x.Finality.Encode()
	d.seen.learn(messageHash(Direct, KindCommitted, raw), Accept)
	d.gossip(KindCommitted, raw)
}
