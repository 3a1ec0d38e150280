package receipt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"sort"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// MaxOutputs bounds the outputs of one piece of work, and MaxOutputName the bytes of an output's name.
const (
	MaxOutputs    = 4096
	MaxOutputName = 1024
)

// Names of the two outputs that every outcome has.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// ends are the values of Outcome.Killed.
var ends = []string{"", "seccomp", "memory", "output", "files", "calls", "time", "processes", "deadlock"}

// Check validates an outcome that a stranger sent: a known end, outputs with names in strictly rising order, stdout
// and stderr among them.
func (o *Outcome) Check() error {
	if !slices.Contains(ends, o.Killed) {
		return fmt.Errorf("outcome: killed by %.40q: want one of %s, or nothing", o.Killed, strings.Join(ends[1:], ", "))
	}
	if len(o.Outputs) > MaxOutputs {
		return fmt.Errorf("outcome with %d outputs: over the limit of %d", len(o.Outputs), MaxOutputs)
	}
	streams := 0
	for i, out := range o.Outputs {
		if out.Name == "" || !isText(out.Name, MaxOutputName) {
			return fmt.Errorf("outcome: output %d: name %.40q: want 1 to %d bytes of UTF-8", i, out.Name, MaxOutputName)
		}
		if i > 0 && o.Outputs[i-1].Name >= out.Name {
			return fmt.Errorf("outcome: output %.80q does not come after %.80q: want names sorted, each once", out.Name, o.Outputs[i-1].Name)
		}
		if out.Name == Stdout || out.Name == Stderr {
			streams++
		}
	}
	if streams != 2 {
		return fmt.Errorf("outcome without stdout or stderr: both are always outputs")
	}
	return nil
}

// KeyedHasher computes the keyed output digest of one round: H(tag ‖ job ‖ round ‖ every output's name and bytes, by
// name). Unlike the outputs' own digests, which a sealed job of the same work may have published, nobody can know it
// without holding the bytes. Feed each output with Begin and Write. Not for concurrent use.
type KeyedHasher struct {
	h    hash.Hash
	last string
	any  bool
	left uint64
}

// NewKeyedHasher starts a digest for the job's round.
func NewKeyedHasher(job digest.Digest, round uint32) *KeyedHasher {
	k := &KeyedHasher{h: sha256.New()}
	k.part([]byte("bpi/keyed-output/1"))
	k.part(job[:])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], round)
	k.part(n[:])
	return k
}

func (k *KeyedHasher) part(b []byte) {
	k.length(uint64(len(b)))
	k.h.Write(b)
}

func (k *KeyedHasher) length(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	k.h.Write(b[:])
}

// Begin announces the next output, whose size bytes follow by Write. Names come in strictly rising order.
func (k *KeyedHasher) Begin(name string, size uint64) error {
	if k.left != 0 {
		return fmt.Errorf("output %.80q: %d bytes are missing", k.last, k.left)
	}
	if k.any && name <= k.last {
		return fmt.Errorf("output %.80q does not come after %.80q", name, k.last)
	}
	k.any, k.last, k.left = true, name, size
	k.part([]byte(name))
	k.length(size)
	return nil
}

// Write adds bytes of the output that Begin announced, and refuses more than it said.
func (k *KeyedHasher) Write(p []byte) (int, error) {
	if uint64(len(p)) > k.left {
		return 0, fmt.Errorf("output %.80q: %d bytes more than announced", k.last, uint64(len(p))-k.left)
	}
	k.left -= uint64(len(p))
	return k.h.Write(p)
}

// Sum is the digest, or an error if the last output is incomplete.
func (k *KeyedHasher) Sum() (digest.Digest, error) {
	var d digest.Digest
	if k.left != 0 {
		return d, fmt.Errorf("output %.80q: %d bytes are missing", k.last, k.left)
	}
	k.h.Sum(d[:0])
	return d, nil
}

// KeyedOutput is KeyedHasher over outputs held in memory, keyed by name.
func KeyedOutput(job digest.Digest, round uint32, outputs map[string][]byte) digest.Digest {
	names := make([]string, 0, len(outputs))
	for name := range outputs {
		names = append(names, name)
	}
	sort.Strings(names)
	k := NewKeyedHasher(job, round)
	for _, name := range names {
		k.Begin(name, uint64(len(outputs[name]))) // the names are sorted and distinct
		k.Write(outputs[name])
	}
	d, err := k.Sum()
	if err != nil {
		panic(err) // every Write was of the size announced
	}
	return d
}
