package runner

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// statement is what this peer says about a job in a round, and the digest over the output bytes keyed by both.
func (r *Runner) statement(d Duty, o receipt.Outcome) (receipt.Statement, digest.Digest, error) {
	k := receipt.NewKeyedHasher(d.Job, d.Round)
	memory, cheap := r.store.memory(d.Job)
	for _, out := range o.Outputs {
		var err error
		if !cheap {
			err = r.hashOutput(k, d.Job, out)
		} else if err = k.Begin(out.Name, out.Bytes); err == nil {
			_, err = k.Write(memory[out.Name])
		}
		if err != nil {
			return receipt.Statement{}, digest.Digest{}, err
		}
	}
	keyed, err := k.Sum()
	if err != nil {
		return receipt.Statement{}, digest.Digest{}, err
	}
	return receipt.NewStatement(r.cfg.ChainID, d.Job, d.Round, &d.Work, &o, keyed), keyed, nil
}

// hashOutput feeds one output file, checked against its digest once more: a damaged disk must not make a peer lie.
func (r *Runner) hashOutput(k *receipt.KeyedHasher, job digest.Digest, out receipt.Output) error {
	f, err := os.Open(filepath.Join(r.store.outputs(job), out.Name))
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	defer f.Close()
	if err := k.Begin(out.Name, out.Bytes); err != nil {
		return fmt.Errorf("output %s: %w", out.Name, err)
	}
	plain := sha256.New()
	n, err := io.Copy(io.MultiWriter(k, plain), io.LimitReader(f, int64(out.Bytes)+1))
	if err != nil {
		return fmt.Errorf("read output %s: %w", out.Name, err)
	}
	if uint64(n) != out.Bytes || digest.Digest(plain.Sum(nil)) != out.Digest {
		return fmt.Errorf("output %s of job %s is damaged on disk: its bytes are not those that were executed", out.Name, job.Short())
	}
	return nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
