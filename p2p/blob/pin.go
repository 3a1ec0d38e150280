package blob

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

func checkReason(reason string) error {
	if len(reason) == 0 || len(reason) > maxReason {
		return fmt.Errorf("a pin's reason of %d bytes, want 1 to %d", len(reason), maxReason)
	}
	return nil
}

// Pin keeps a file or folder from being collected, for a reason ("job/17", "user"). It may have several. The pin is
// durable on return; the same pin again changes nothing. ErrNotFound if it is not here, whole.
func (s *Store) Pin(c CID, reason string) error {
	if err := checkReason(reason); err != nil {
		return fmt.Errorf("pin %s: %w", c, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.roots[c]
	if e == nil || e.part {
		return fmt.Errorf("pin %s: %w", c, ErrNotFound)
	}
	return s.pin(e, reason)
}

func (s *Store) pin(e *entry, reason string) error {
	if e.reasons[reason] {
		return nil
	}
	if err := s.write(true, indexLine{verb: "+", cid: e.CID, reason: reason}); err != nil {
		return fmt.Errorf("pin %s: %w", e.CID, err)
	}
	e.used = time.Now()
	s.setPin(e, reason)
	s.compact()
	return nil
}

// PinFile pins the file with a digest.
func (s *Store) PinFile(d digest.Digest, reason string) error {
	if err := checkReason(reason); err != nil {
		return fmt.Errorf("pin blob %s: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.file(d)
	if e == nil {
		return fmt.Errorf("pin blob %s: %w", d, ErrNotFound)
	}
	return s.pin(e, reason)
}

// Unpin takes one reason back. The blob stays until it is collected. One that was not pinned so changes nothing. It is
// durable with the next pin: a crash before may bring the reason back, and Reasons tells.
func (s *Store) Unpin(c CID, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.roots[c]
	if e == nil || !e.reasons[reason] {
		return nil
	}
	if err := s.write(false, indexLine{verb: "-", cid: c, reason: reason}); err != nil {
		return fmt.Errorf("unpin %s: %w", c, err)
	}
	s.clearPin(e, reason)
	s.compact()
	return nil
}

// UnpinAll takes one reason back from everything that has it.
func (s *Store) UnpinAll(reason string) error {
	s.mu.Lock()
	var list []CID
	for c := range s.pinned[reason] {
		list = append(list, c)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b CID) int { return strings.Compare(a.KeyString(), b.KeyString()) })
	for _, c := range list {
		if err := s.Unpin(c, reason); err != nil {
			return err
		}
	}
	return nil
}

// Pins is the reasons for which the file with a digest is kept, in order.
func (s *Store) Pins(d digest.Digest) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.file(d)
	if e == nil {
		return nil
	}
	return sortedKeys(e.reasons)
}

// Pinned lists what is pinned for a reason, what was used last first, at most n.
func (s *Store) Pinned(reason string, n int) []CID {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]CID, 0, len(s.pinned[reason]))
	for c := range s.pinned[reason] {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b CID) int {
		if d := s.roots[b].used.Compare(s.roots[a].used); d != 0 {
			return d
		}
		return strings.Compare(a.KeyString(), b.KeyString())
	})
	return out[:min(len(out), n)]
}

// Reasons lists the reasons that begin with prefix, in order, each once.
func (s *Store) Reasons(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for r := range s.pinned {
		if strings.HasPrefix(r, prefix) {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}

func (s *Store) setPin(e *entry, reason string) {
	e.reasons[reason] = true
	if s.pinned[reason] == nil {
		s.pinned[reason] = map[CID]bool{}
	}
	s.pinned[reason][e.CID] = true
}

func (s *Store) clearPin(e *entry, reason string) {
	delete(e.reasons, reason)
	delete(s.pinned[reason], e.CID)
	if len(s.pinned[reason]) == 0 {
		delete(s.pinned, reason)
	}
}
