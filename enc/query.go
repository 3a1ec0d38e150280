package enc

import (
	"bytes"
	"encoding/binary"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/lowhex"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// The queries below decode what the state holds and change nothing, so many goroutines may run them on one state that
// is no longer executed on. What is damaged reads as absent; executing on it reports it.

func read[T any](s *State, k []byte) (*T, bool) {
	b, ok := s.m.Get(k)
	if !ok {
		return nil, false
	}
	v := new(T)
	if err := canon.UnmarshalOwn(b, v); err != nil {
		return nil, false
	}
	return v, true
}

// Genesis is what the chain began with, and its numbers. The slices are the state's.
func (s *State) Genesis() Genesis { return s.law.genesis }

// Params are the chain's numbers.
func (s *State) Params() Params { return s.law.genesis.Params }

// Engine is the engine in force for a kind of work, and its size in bytes. Kind native has none: each work names its image.
func (s *State) Engine(kind string) (engine digest.Digest, size uint64, ok bool) {
	g := &s.law.genesis
	if kind != KindSQL {
		return digest.Digest{}, 0, false
	}
	return g.SQLEngine, g.SQLBytes, true
}

// EngineOf names the bytes that a work runs on, if the chain knows them.
func (s *State) EngineOf(w *receipt.Work) (engine BlobRef, ok bool) {
	engine.Digest = w.Engine
	if w.Kind == KindNative {
		engine.Bytes, ok = s.ImageBytes(w.Engine)
		return engine, ok
	}
	inForce, size, ok := s.Engine(w.Kind)
	engine.Bytes = size
	return engine, ok && inForce == w.Engine
}

// PolicyOffered reports whether a registered node offers a policy.
func (s *State) PolicyOffered(policy digest.Digest) bool { return s.any(key(keyOffers, policy[:])) }

// Job is the job of that id.
func (s *State) Job(id digest.Digest) (*Job, bool) { return read[Job](s, key(keyJobs, id[:])) }

// Work is the work of a job. It is kept as long as the job is.
func (s *State) Work(job digest.Digest) (*receipt.Work, bool) {
	return read[receipt.Work](s, key(keyWorks, job[:]))
}

// JobsByPrefix lists at most limit ids of jobs whose hexadecimal form begins with prefix, in order.
func (s *State) JobsByPrefix(prefix string, limit int) []digest.Digest {
	var out []digest.Digest
	if len(prefix) > 2*digest.Size {
		return nil
	}
	pad := []byte(prefix + "0")[:len(prefix)+len(prefix)%2]
	low := make([]byte, len(pad)/2)
	if lowhex.Decode(low, pad, "prefix") != nil {
		return nil
	}
	even := low[:len(prefix)/2]
	for k := range s.m.From(key(keyJobs, even), key(keyJobs, low)) {
		id := digest.Digest(k[len(keyJobs):])
		if !bytes.HasPrefix([]byte(id.String()), []byte(prefix)) || len(out) == limit {
			break
		}
		out = append(out, id)
	}
	return out
}

// JobFilter chooses jobs for ListJobs. Zero fields choose all.
type JobFilter struct {
	Client sign.PublicKey
	Status Status
	Kind   string
}

// maxListScan bounds the jobs that one ListJobs call decodes.
const maxListScan = 2000

// ListJobs lists jobs, the newest first. cursor is empty for the first page, else what the page before returned; next
// is empty after the last page. A page may hold fewer than limit jobs and still not be the last.
func (s *State) ListJobs(limit int, cursor []byte, f JobFilter) (jobs []*Job, next []byte) {
	from := key(keyList, cursor)
	scanned := 0
	for k, v := range s.m.From(key(keyList), from) {
		if len(jobs) >= limit || scanned >= maxListScan {
			return jobs, bytes.Clone(k[len(keyList):])
		}
		scanned++
		j, ok := s.Job(digest.Digest(v))
		if !ok || (f.Status != "" && f.Status != j.Status) || (f.Kind != "" && f.Kind != j.Kind) || (!f.Client.IsZero() && f.Client != j.Client) {
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// Node is the admitted executor of that key.
func (s *State) Node(peer sign.PublicKey) (*Node, bool) {
	return read[Node](s, key(keyNodes, peer[:]))
}

// Nodes lists every admitted executor, by peer.
func (s *State) Nodes() []*Node {
	var out []*Node
	for k := range s.m.Prefix(key(keyNodes)) {
		if n, ok := read[Node](s, k); ok {
			out = append(out, n)
		}
	}
	return out
}

// Manifest is the bytes of that manifest and their holders.
func (s *State) Manifest(d digest.Digest) (*Manifest, bool) {
	return read[Manifest](s, key(keyManifests, d[:]))
}

// timeOf reads the time that a key of deadlines, sweep or dedupe begins with.
func timeOf(k []byte, prefix string) uint64 { return binary.BigEndian.Uint64(k[len(prefix):]) }
