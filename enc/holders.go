package enc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/metanode/metanode/internal/sign"
)

// hold records that a node has the bytes. A node that was not asked counts too, up to MaxHolders.
func (s *State) hold(at BlockContext, who sign.PublicKey, p *HoldBlobs) error {
	held, reason := 0, error(nil)
	for _, d := range p.Manifests {
		var m Manifest
		if !s.get(key(keyManifests, d[:]), &m) {
			reason = refusal("manifest " + d.String() + " is of no data set and no image of this chain")
			continue
		}
		i, found := slices.BinarySearchFunc(m.Held, who, compareKeys)
		if found {
			held++
			continue
		}
		if len(m.Held) >= MaxHolders && !slices.Contains(m.Assigned, who) {
			reason = refusal("manifest " + d.String() + " has holders enough")
			continue
		}
		m.Held = slices.Insert(m.Held, i, who)
		s.m.Set(key(keyHolds, who[:], d[:]), []byte{1})
		s.emit(EventBlobsHeld, who, d, "accepted", "", nil)
		s.complete(&m)
		s.put(key(keyManifests, d[:]), &m)
		held++
	}
	if held == 0 {
		return reason
	}
	return nil
}

// complete announces, once, that as many peers hold the manifest as wanted, or as there are.
func (s *State) complete(m *Manifest) {
	want := min(int(m.Wanted), len(m.Assigned))
	if m.Complete || want == 0 || len(m.Held) < want {
		return
	}
	m.Complete = true
	s.emit(EventHeld, sign.PublicKey{}, m.Digest, "held",
		fmt.Sprintf("%d peers hold it, %d were wanted", len(m.Held), m.Wanted), m.Held)
}

// placeHolders gives the manifests that wait their holders, and those of draining nodes new ones.
func (s *State) placeHolders(at BlockContext) {
	for _, e := range s.keysUnder(key(keyLeaving), 1) {
		s.leave(e)
	}
	queue := s.keysUnder(key(keyHoldQueue), beginHolds)
	if len(queue) == 0 {
		return
	}
	nodes := s.nodes()
	for _, e := range queue {
		if binary.BigEndian.Uint64(e.val) > at.Height {
			continue
		}
		s.del(e.key)
		var m Manifest
		k := key(keyManifests, e.key[len(keyHoldQueue):])
		if !s.get(k, &m) {
			s.corrupt(e.key, fmt.Errorf("a manifest that waits for holders is missing"))
			return
		}
		s.chooseHolders(at, &m, nodes)
		s.put(k, &m)
	}
}

// chooseHolders keeps the holders that stay, and draws the missing ones. A draining holder is let go only when another
// has taken its place, so that bytes are never given up.
func (s *State) chooseHolders(at BlockContext, m *Manifest, nodes []*Node) {
	staying := make(map[sign.PublicKey]bool)
	var fresh []candidate
	for _, n := range nodes {
		if !n.Registered || n.Draining {
			continue
		}
		if slices.Contains(m.Assigned, n.Peer) {
			staying[n.Peer] = true
			continue
		}
		c := candidate{node: n, hash: rendezvous(at.Parent, m.Digest, 0, n.Peer)}
		if _, has := slices.BinarySearchFunc(m.Held, n.Peer, compareKeys); has {
			c.score = 1 // it has the bytes already
		}
		if n.Suspect {
			c.class = 1
		}
		fresh = append(fresh, c)
	}
	slices.SortFunc(fresh, func(a, b candidate) int {
		if a.score != b.score {
			return int(b.score) - int(a.score)
		}
		if a.class != b.class {
			return int(a.class) - int(b.class)
		}
		return a.hash.Compare(b.hash)
	})
	missing := max(int(m.Wanted)-len(staying), 0)
	for _, c := range fresh[:min(missing, len(fresh))] {
		m.Assigned = append(m.Assigned, c.node.Peer)
		staying[c.node.Peer] = true
		if k := key(keyHolds, c.node.Peer[:], m.Digest[:]); !s.has(k) {
			s.m.Set(k, []byte{0})
		}
	}
	if len(staying) < int(m.Wanted) {
		s.mark(key(keyShort, m.Digest[:]))
	} else {
		kept := m.Assigned[:0]
		for _, peer := range m.Assigned {
			if staying[peer] {
				kept = append(kept, peer)
				continue
			}
			s.del(key(keyHolds, peer[:], m.Digest[:]))
			if i, found := slices.BinarySearchFunc(m.Held, peer, compareKeys); found {
				m.Held = slices.Delete(m.Held, i, i+1)
				m.Complete = false
			}
		}
		m.Assigned = kept
	}
	reason := ""
	if len(staying) < int(m.Wanted) {
		reason = fmt.Sprintf("%d peers of %d wanted: the network has no more", len(staying), m.Wanted)
	}
	s.emit(EventHoldersPlaced, sign.PublicKey{}, m.Digest, "placed", reason, m.Assigned)
	s.complete(m)
}

// leave queues the manifests of a draining node for new holders, some in each block.
func (s *State) leave(e entry) {
	peer := e.key[len(keyLeaving):]
	prefix := key(keyHolds, peer)
	var found [][]byte
	for k := range s.m.From(prefix, key(keyHolds, peer, e.val)) {
		if len(found) == beginLeaving {
			break
		}
		found = append(found, k[len(prefix):])
	}
	for _, d := range found {
		s.m.Set(key(keyHoldQueue, d), be64(0))
	}
	if len(found) < beginLeaving {
		s.del(e.key)
		return
	}
	s.m.Set(e.key, append(bytes.Clone(found[len(found)-1]), 0)) // go on after it
}

func compareKeys(a, b sign.PublicKey) int { return bytes.Compare(a[:], b[:]) }
