package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// store keeps finished executions in one folder a job: outcome.cbor beside the folder of outputs. It is used by one
// goroutine a job at a time.
type store struct{ dir string }

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
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "outcome.cbor")); err == nil {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("sweep unfinished execution: %w", err)
		}
	}
	return &store{dir: dir}, nil
}

func (s *store) folder(job digest.Digest) string { return filepath.Join(s.dir, job.String()) }

// outputs is the folder of a job's output files, each named by its output's name.
func (s *store) outputs(job digest.Digest) string { return filepath.Join(s.folder(job), "out") }

// begin gives an empty output folder for a job.
func (s *store) begin(job digest.Digest) (string, error) {
	if err := os.RemoveAll(s.folder(job)); err != nil {
		return "", fmt.Errorf("clear execution of %s: %w", job.Short(), err)
	}
	dir := s.outputs(job)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make output folder of %s: %w", job.Short(), err)
	}
	return dir, nil
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

// load gives a job's durable outcome, and whether there is one.
func (s *store) load(job digest.Digest) (receipt.Outcome, bool, error) {
	var o receipt.Outcome
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
func (s *store) drop(job digest.Digest) error { return os.RemoveAll(s.folder(job)) }

// jobs lists the jobs with a folder.
func (s *store) jobs() ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list executions: %w", err)
	}
	var list []digest.Digest
	for _, e := range entries {
		if d, err := digest.Parse(e.Name()); err == nil {
			list = append(list, d)
		}
	}
	return list, nil
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
