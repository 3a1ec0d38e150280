package enc

import (
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// Desk lists what states ask of one peer, block after block. It remembers what it has decoded, so that a block costs what
// it changed and not what the peer has to do in all. A Desk is used by one goroutine at a time; the states may be forks of
// each other, in any order.
type Desk struct {
	peer      sign.PublicKey
	jobs      decoded[Job]
	works     decoded[receipt.Work]
	manifests decoded[Manifest]
}

// NewDesk is the desk of that peer.
func NewDesk(peer sign.PublicKey) *Desk { return &Desk{peer: peer} }

// Peer is whose desk it is.
func (d *Desk) Peer() sign.PublicKey { return d.peer }

// Assignments lists the executions that the peer is to keep running, by job. An execution that is no longer listed is to
// stop: its job has ended, or its part is lost or declined.
func (d *Desk) Assignments(s *State) []Assignment {
	var out []Assignment
	prefix := key(keyAssigned, d.peer[:])
	for k := range s.m.Prefix(prefix) {
		id := digest.Digest(k[len(prefix):])
		j := d.jobs.read(s, keyJobs, id)
		if j == nil {
			continue
		}
		x := j.Execution(d.peer)
		w := d.works.read(s, keyWorks, id)
		if x == nil || w == nil {
			continue
		}
		out = append(out, Assignment{
			Job: j.ID, Round: x.Round, Status: j.Status, Observed: x.Observed, LeaseMs: x.LeaseMs, Work: w,
			WorkDigest: j.WorkDigest, Memory: j.Memory, WallMs: j.WallMs, Hash: x.Hash,
		})
	}
	d.jobs.sweep()
	d.works.sweep()
	return out
}

// Holds lists at most limit manifests that the peer is to hold, by digest.
func (d *Desk) Holds(s *State, limit int) []Hold {
	var out []Hold
	prefix := key(keyHolds, d.peer[:])
	for k, v := range s.m.Prefix(prefix) {
		if len(out) == limit {
			break
		}
		id := digest.Digest(k[len(prefix):])
		if m := d.manifests.read(s, keyManifests, id); m != nil {
			out = append(out, Hold{Manifest: id, Blobs: m.Blobs, Held: len(v) == 1 && v[0] == 1})
		}
	}
	d.manifests.sweep()
	return out
}

// decoded keeps what was read of one kind until a sweep finds that nobody asked for it since the one before.
type decoded[T any] struct {
	kept, asked map[digest.Digest]decodedValue[T]
}

type decodedValue[T any] struct {
	raw   []byte // of the state: never written to, and kept alive by this, so its address is not given to other bytes
	value *T
}

// read is the value under prefix and id, or nil if there is none.
func (d *decoded[T]) read(s *State, prefix string, id digest.Digest) *T {
	raw, ok := s.m.Get(key(prefix, id[:]))
	if !ok {
		return nil
	}
	v, ok := d.kept[id]
	if !ok || len(raw) == 0 || len(v.raw) != len(raw) || &v.raw[0] != &raw[0] {
		v = decodedValue[T]{raw: raw, value: new(T)}
		if err := canon.UnmarshalOwn(raw, v.value); err != nil {
			return nil
		}
	}
	if d.asked == nil {
		d.asked = make(map[digest.Digest]decodedValue[T])
	}
	d.asked[id] = v
	return v.value
}

func (d *decoded[T]) sweep() {
	clear(d.kept)
	d.kept, d.asked = d.asked, d.kept
}
