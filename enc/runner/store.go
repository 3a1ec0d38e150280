package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// store keeps finished executions until their jobs are settled. An expensive one is a folder with outcome.cbor beside the
// folder of outputs, durable before its commit is sent. A cheap one is kept in memory and in one file that is not synced:
// it outlives this process, and if the machine crashes it is executed again, which gives the same bytes sooner than a
// disk makes them durable. Safe for concurrent use, one goroutine a job at a time.
type store struct {
	dir string

	mu      sync.Mutex
	folders map[digest.Digest]bool // jobs with a folder
	cheap   map[digest.Digest]*cheap
}

// cheap is an execution in memory, and its file's content before a digest of it.
type cheap struct {
	_       struct{} `cbor:",toarray"`
	Outcome receipt.Outcome
	Bytes   [][]byte // of each of Outcome.Outputs
}

// bytes gives the outputs by name.
func (c *cheap) bytes() map[string][]byte {
	m := make(map[string][]byte, len(c.Bytes))
	for i, o := range c.Outcome.Outputs {
		m[o.Name] = c.Bytes[i]
	}
	return m
}

// sound reports whether the bytes are those of the outcome.
func (c *cheap) sound() bool {
	if c.Outcome.Check() != nil || len(c.Bytes) != len(c.Outcome.Outputs) {
		return false
	}
	for i, o := range c.Outcome.Outputs {
		if uint64(len(c.Bytes[i])) != o.Bytes || digest.Of(c.Bytes[i]) != o.Digest {
			return false
		}
	}
	return true
}

// cheapFile ends the names of cheap executions' files; the job's id is before it.
const cheapFile = ".cbor"

// maxCheapBytes bounds the outputs of one execution in memory: the size up to which results are archived with receipts.
const maxCheapBytes = 64 << 10

// maxOutcomeBytes bounds outcome.cbor when it is read back: as many outputs as there may be, with the longest names.
const maxOutcomeBytes = receipt.MaxOutputs*(receipt.MaxOutputName+64) + 1024

// openStore makes the folder, and sweeps what a crash left half-written: folders without an outcome.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make executions folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list executions folder: %w", err)
	}
	s := &store{dir: dir, folders: map[digest.Digest]bool{}, cheap: map[digest.Digest]*cheap{}}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), cheapFile); ok {
			if err := s.recall(name); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "outcome.cbor")); err == nil {
			if d, err := digest.Parse(e.Name()); err == nil {
				s.folders[d] = true
				continue
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("sweep unfinished execution: %w", err)
		}
	}
	return s, nil
}

func (s *store) folder(job digest.Digest) string { return filepath.Join(s.dir, job.String()) }

// file is where a cheap execution is kept.
func (s *store) file(job digest.Digest) string { return s.folder(job) + cheapFile }

// outputs is the folder of a job's output files, each named by its output's name.
func (s *store) outputs(job digest.Digest) string { return filepath.Join(s.folder(job), "out") }

// begin gives an empty output folder for a job.
func (s *store) begin(job digest.Digest) (string, error) {
	if err := s.drop(job); err != nil {
		return "", fmt.Errorf("clear execution of %s: %w", job.Short(), err)
	}
	dir := s.outputs(job)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make output folder of %s: %w", job.Short(), err)
	}
	s.mu.Lock()
	s.folders[job] = true
	s.mu.Unlock()
	return dir, nil
}

// remember takes an execution into memory and removes its folder, if its outputs are small enough; else false, and
// nothing has changed.
func (s *store) remember(job digest.Digest, o receipt.Outcome) (bool, error) {
	var size uint64
	for _, out := range o.Outputs {
		if size += out.Bytes; out.Bytes > maxCheapBytes || size > maxCheapBytes {
			return false, nil
		}
	}
	c := &cheap{Outcome: o, Bytes: make([][]byte, len(o.Outputs))}
	for i, out := range o.Outputs {
		c.Bytes[i] = []byte{}
		if out.Bytes == 0 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(s.outputs(job), out.Name))
		if err != nil {
			return false, fmt.Errorf("read output %s of %s: %w", out.Name, job.Short(), err)
		}
		c.Bytes[i] = b
	}
	if !c.sound() {
		return false, fmt.Errorf("the outputs of %s are damaged on disk: their bytes are not those that were executed", job.Short())
	}
	raw := canon.Must(c)
	sum := digest.Of(raw)
	if err := os.WriteFile(s.file(job), append(raw, sum[:]...), 0o600); err != nil {
		return false, fmt.Errorf("keep execution of %s: %w", job.Short(), err)
	}
	if err := s.dropFolder(job); err != nil {
		return false, err
	}
	s.mu.Lock()
	s.cheap[job] = c
	s.mu.Unlock()
	return true, nil
}

// recall takes a cheap execution's file back into memory, and removes one that a crash of the machine has damaged.
func (s *store) recall(name string) error {
	path := filepath.Join(s.dir, name+cheapFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("load cheap execution: %w", err)
	}
	job, bad := digest.Parse(name)
	c := &cheap{}
	at := len(raw) - digest.Size
	if bad != nil || at < 0 || digest.Of(raw[:at]) != digest.Digest(raw[at:]) || canon.Unmarshal(raw[:at], c) != nil || !c.sound() {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("sweep damaged execution: %w", err)
		}
		return nil
	}
	s.cheap[job] = c
	return nil
}

// memory gives the output bytes of an execution that is kept in memory.
func (s *store) memory(job digest.Digest) (map[string][]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cheap[job]
	if c == nil {
		return nil, false
	}
	return c.bytes(), true
}

// finish makes the outcome and the outputs of a job durable.
func (s *store) finish(job digest.Digest, o receipt.Outcome) error {
	for _, out := range o.Outputs {
		if err := syncFile(filepath.Join(s.outputs(job), out.Name)); err != nil {
			return fmt.Errorf("make output %s of %s durable: %w", out.Name, job.Short(), err)
		}
	}
	path := filepath.Join(s.folder(job), "outcome.cbor")
	raw := canon.Must(&o)
	sum := digest.Of(raw)
	if err := writeSynced(path, append(raw, sum[:]...)); err != nil {
		return fmt.Errorf("make outcome of %s durable: %w", job.Short(), err)
	}
	for _, dir := range []string{s.outputs(job), s.folder(job), s.dir} {
		if err := syncFile(dir); err != nil {
			return fmt.Errorf("make outcome of %s durable: %w", job.Short(), err)
		}
	}
	return nil
}

// load gives a job's outcome, and whether there is one.
func (s *store) load(job digest.Digest) (receipt.Outcome, bool, error) {
	var o receipt.Outcome
	s.mu.Lock()
	c, folder := s.cheap[job], s.folders[job]
	s.mu.Unlock()
	if c != nil {
		return c.Outcome, true, nil
	}
	if !folder {
		return o, false, nil
	}
	path := filepath.Join(s.folder(job), "outcome.cbor")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return o, false, nil
	}
	if err != nil {
		return o, false, fmt.Errorf("load outcome of %s: %w", job.Short(), err)
	}
	if info.Size() > maxOutcomeBytes {
		return o, false, fmt.Errorf("load outcome of %s: %d bytes: over the limit of %d", job.Short(), info.Size(), maxOutcomeBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return o, false, fmt.Errorf("load outcome of %s: %w", job.Short(), err)
	}
	o, ok := readOutcome(raw)
	return o, ok, nil
}

// readOutcome reads canonical bytes with their digest after them. What a crash or the disk has damaged is none: the
// execution is simply done again, rather than that this peer says what it did not find.
func readOutcome(raw []byte) (receipt.Outcome, bool) {
	var o receipt.Outcome
	at := len(raw) - digest.Size
	if at < 0 || digest.Of(raw[:at]) != digest.Digest(raw[at:]) || canon.Unmarshal(raw[:at], &o) != nil || o.Check() != nil {
		return receipt.Outcome{}, false
	}
	return o, true
}

// drop removes all that is kept of a job.
func (s *store) drop(job digest.Digest) error {
	s.mu.Lock()
	c := s.cheap[job]
	delete(s.cheap, job)
	s.mu.Unlock()
	if c != nil {
		if err := os.Remove(s.file(job)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.dropFolder(job)
}

func (s *store) dropFolder(job digest.Digest) error {
	s.mu.Lock()
	folder := s.folders[job]
	s.mu.Unlock()
	if !folder {
		return nil
	}
	if err := os.RemoveAll(s.folder(job)); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.folders, job)
	s.mu.Unlock()
	return nil
}

// jobs lists the jobs of which something is kept, in order.
func (s *store) jobs() []digest.Digest {
	s.mu.Lock()
	list := make([]digest.Digest, 0, len(s.folders)+len(s.cheap))
	for d := range s.folders {
		list = append(list, d)
	}
	for d := range s.cheap {
		if !s.folders[d] {
			list = append(list, d)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, digest.Digest.Compare)
	return list
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
