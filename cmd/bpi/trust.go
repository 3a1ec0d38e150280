package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// trustPath is where the trust file of a chain is pinned: what was believed on first contact is believed from then on.
func (e *env) trustPath(chain digest.Digest) string {
	return filepath.Join(e.home, "trust", chain.Short()+".json")
}

// readTrust reads a trust file.
func readTrust(path string) (*receipt.TrustFile, error) {
	raw, err := readBounded(path, receipt.MaxTrustBytes)
	if err != nil {
		return nil, err
	}
	t, err := receipt.ParseTrust(raw)
	if err != nil {
		return nil, fmt.Errorf("trust file %s: %w", path, err)
	}
	return t, nil
}

// trustFor finds what to check a document of the chain against: the named file, the pinned one, or, on first contact
// and if c is not nil, the peer's own word, which is pinned and said to be so.
func (e *env) trustFor(ctx context.Context, flag string, chain digest.Digest, c *conn) (*receipt.TrustFile, error) {
	if flag != "" {
		t, err := readTrust(flag)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("trust file %s: no such file; write one with: bpi chain trust > %s", flag, flag)
		}
		return t, err
	}
	path := e.trustPath(chain)
	t, err := readTrust(path)
	if err == nil {
		return t, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("nothing is known of chain %s: name a trust file with --trust; bpi chain trust writes one while the network is up", chain.Short())
	}
	if t, err = c.Trust(ctx, 0); err != nil {
		return nil, err
	}
	if t.Chain.ID != chain {
		return nil, fmt.Errorf("%s is a peer of chain %s-%s, and the document is of chain %s; name a trust file with --trust", c.where, t.Chain.Name, t.Chain.ID.Short(), chain.Short())
	}
	raw, err := t.Encode()
	if err != nil {
		return nil, err
	}
	if err := writeNew(path, raw); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("pin the trust file: %w", err)
	}
	e.say("first contact with chain %s: its validators are believed from now on, as %s says (%s)", t.Chain.DisplayName(), c.where, tilde(path))
	return t, nil
}

// readBounded reads a file, or standard input for "-", of at most limit bytes.
func readBounded(path string, limit int) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("read %s: larger than the %d bytes such a file may have", path, limit)
	}
	return raw, nil
}

// receiptPath is where the receipt of a job submitted from here is kept.
func (e *env) receiptPath(job digest.Digest) string {
	return filepath.Join(e.home, "receipts", job.String()+".json")
}

// keepReceipt saves a receipt for later, when the network may be gone.
func (e *env) keepReceipt(job digest.Digest, r *receipt.Receipt) error {
	raw, err := r.Encode()
	if err != nil {
		return err
	}
	if err := writeNew(e.receiptPath(job), raw); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("save the receipt: %w", err)
	}
	return nil
}
