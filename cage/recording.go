package cage

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Bounds of a recording.
const (
	MaxRecordingBytes = 192 << 20 // of the file
	MaxRecorded       = 1 << 20   // events kept; of later ones only the checkpoints are
	MaxRecordedBytes  = 64 << 20  // their payloads together
	maxCheckpoints    = 1 << 21   // two events for each of MaxCalls
	maxHintBytes      = 4096
)

// Recording is what a run leaves for those who want to check it or to see where another one went a different way: the
// file w.cbor. Of a strict run, all but Start and Hints is the same on every machine, and the witness in Result covers it
// but for Totals, which only those know who run it again.
type Recording struct {
	_           struct{} `cbor:",toarray"`
	Version     uint32   // RecordingVersion
	Spec        Spec
	Policy      []byte // the canonical form of the one that Spec names: Policy.Marshal
	Result      Result
	Count       uint64        // of events that happened
	End         digest.Digest // of the chain
	Checkpoints []byte        // 32 bytes each
	Totals      Totals
	Stretches   [][]Event // the events kept, CheckpointEvery to a stretch but for the last
	Start       string    // why the program could not be started; "" if it was
	Hints       []Hint    // sorted by Name
}

// RecordingVersion is the version that DecodeRecording reads.
const RecordingVersion = 1

// Totals are counters of a whole run.
type Totals struct {
	_         struct{} `cbor:",toarray"`
	Calls     uint64   // system calls that the cage answered or looked at
	VirtualNs uint64   // that passed on the virtual clock
	Spawned   uint32   // threads and processes started
}

// Hint says where something was on the machine that made the recording, for running it again there.
type Hint struct {
	_    struct{} `cbor:",toarray"`
	Name string   // "root", or the place of an input: "/in/PATH", "/work/PATH"
	Path string
}

// Encode gives the canonical bytes.
func (r *Recording) Encode() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return canon.Marshal(r)
}

// DecodeRecording reads what Encode wrote and refuses every other spelling, and a recording that contradicts itself.
func DecodeRecording(raw []byte) (*Recording, error) {
	if len(raw) > MaxRecordingBytes {
		return nil, fmt.Errorf("recording of %d bytes: over the limit of %d", len(raw), MaxRecordingBytes)
	}
	r := new(Recording)
	if err := canon.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	return r, r.Check()
}

// Check refuses a recording that contradicts itself: it makes the witness again from the spec, the events and the
// result.
func (r *Recording) Check() error {
	if r.Version != RecordingVersion {
		return fmt.Errorf("recording: version %d is not known here; this program knows version %d", r.Version, RecordingVersion)
	}
	if err := r.Spec.Check(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if err := r.checkPolicy(); err != nil {
		return err
	}
	if err := r.Result.Check(&r.Spec); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if r.Totals.VirtualNs > math.MaxInt64 {
		return fmt.Errorf("recording: a virtual time of %d ns, which no clock of the cage reaches", r.Totals.VirtualNs)
	}
	if err := r.checkHints(); err != nil {
		return err
	}
	if r.Count/CheckpointEvery > maxCheckpoints || uint64(len(r.Checkpoints)) != r.Count/CheckpointEvery*digest.Size {
		return fmt.Errorf("recording: %d bytes of checkpoints do not fit %d events", len(r.Checkpoints), r.Count)
	}
	if r.Spec.Mode == ModeSealed && r.Count > 0 {
		return fmt.Errorf("recording: %d events of mode %q, which has none", r.Count, r.Spec.Mode)
	}
	if err := r.checkEvents(); err != nil {
		return err
	}
	want := r.Result.root(&r.Spec)
	if r.Spec.Mode == ModeStrict {
		want = r.chain().Root(&r.Result)
	}
	if r.Result.Witness != want {
		return fmt.Errorf("recording: its witness is %s, and what it holds gives %s", r.Result.Witness.Short(), want.Short())
	}
	return nil
}

func (r *Recording) checkPolicy() error {
	p, err := ParsePolicy(r.Policy)
	switch {
	case err != nil:
		return fmt.Errorf("recording: its policy: %w", err)
	case p.Digest() != r.Spec.Policy:
		return fmt.Errorf("recording: it holds policy %q, %s, and its spec names %s", p.Name, p.Digest().Short(), r.Spec.Policy.Short())
	case !bytes.Equal(p.Marshal(), r.Policy):
		return fmt.Errorf("recording: its policy %q is not in canonical form", p.Name)
	case p.Mode != r.Spec.Mode:
		return fmt.Errorf("recording: its policy %q is for mode %q, and its spec has mode %q", p.Name, p.Mode, r.Spec.Mode)
	}
	return nil
}

// PolicyName is the name of the policy, or "" if that cannot be read.
func (r *Recording) PolicyName() string {
	if p, err := ParsePolicy(r.Policy); err == nil {
		return p.Name
	}
	return ""
}

// checkEvents goes along the chain as far as the events are kept.
func (r *Recording) checkEvents() error {
	c := NewChain(r.Spec.Genesis())
	size := 0
	for i, stretch := range r.Stretches {
		if len(stretch) == 0 || len(stretch) > CheckpointEvery || i < len(r.Stretches)-1 && len(stretch) < CheckpointEvery {
			return fmt.Errorf("recording: stretch %d of the events holds %d; want %d", i, len(stretch), CheckpointEvery)
		}
		for k := range stretch {
			e := &stretch[k]
			size += len(e.Payload)
			if c.Count() == r.Count || c.Count() == MaxRecorded || size > MaxRecordedBytes {
				return fmt.Errorf("recording: more events are kept than the %d that happened or than have room", r.Count)
			}
			if err := e.Check(); err != nil {
				return fmt.Errorf("recording: event %d: %w", c.Count(), err)
			}
			if c.Add(*e) && c.End() != r.checkpoint(c.Count()/CheckpointEvery-1) {
				return fmt.Errorf("recording: events %d to %d do not lead to their checkpoint", c.Count()-CheckpointEvery, c.Count()-1)
			}
		}
	}
	end := c.End()
	if c.Count() < r.Count { // what is not kept leads from the last checkpoint to the end
		if r.Count%CheckpointEvery != 0 {
			return nil
		}
		end = r.checkpoint(r.Count/CheckpointEvery - 1)
	}
	if end != r.End {
		return errors.New("recording: its events do not lead to the end of its chain")
	}
	return nil
}

func (r *Recording) checkHints() error {
	if len(r.Start) > maxHintBytes || len(r.Hints) > MaxInputs+1 {
		return fmt.Errorf("recording: %d hints and %d bytes about the start are over the limits of %d and %d",
			len(r.Hints), len(r.Start), MaxInputs+1, maxHintBytes)
	}
	for i, h := range r.Hints {
		if len(h.Name) > 2*MaxPathBytes || len(h.Path) > maxHintBytes || i > 0 && r.Hints[i-1].Name >= h.Name {
			return fmt.Errorf("recording: hint %.80q is too long, out of order or there twice", h.Name)
		}
	}
	return nil
}

// chain is the chain after all events, with those that are not kept.
func (r *Recording) chain() *Chain {
	c := &Chain{h0: r.Spec.Genesis(), h: r.End, count: r.Count}
	for i := range r.Count / CheckpointEvery {
		h := r.checkpoint(i)
		c.tree.Append(h[:])
	}
	return c
}

// checkpoint is the i-th, after (i+1) × CheckpointEvery events.
func (r *Recording) checkpoint(i uint64) digest.Digest {
	return digest.Digest(r.Checkpoints[i*digest.Size : (i+1)*digest.Size])
}

// Kept is the number of events that the recording holds: the first ones of Count.
func (r *Recording) Kept() uint64 {
	n := len(r.Stretches)
	if n == 0 {
		return 0
	}
	return uint64((n-1)*CheckpointEvery + len(r.Stretches[n-1]))
}

// Event is the i-th event, from 0, or false if it is not kept or did not happen.
func (r *Recording) Event(i uint64) (Event, bool) {
	if i >= r.Kept() {
		return Event{}, false
	}
	return r.Stretches[i/CheckpointEvery][i%CheckpointEvery], true
}
