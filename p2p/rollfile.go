package p2p

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

const (
	rollFileName = "members.cbor"
	// maxPapersBytes bounds the papers of one network: they fit in one frame.
	maxPapersBytes = MaxFrame - 1
)

// open reads what an earlier run of this peer knew of invited members and of revocations. A damaged file is an
// error: without it the peer would let in again who was put out.
func (r *roll) open(dir string, now time.Time) error {
	path := filepath.Join(dir, rollFileName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("p2p: read the members: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPapersBytes+1))
	if err == nil {
		err = r.load(raw, now)
	}
	if err != nil {
		return fmt.Errorf("p2p: the file of members %s is damaged: %w; remove it, and the other members will tell this peer again who was invited and who was put out", path, err)
	}
	return nil
}

// load takes the papers of a file. One that does not count any more, because it ended or the inviters are others now, is
// dropped.
func (r *roll) load(raw []byte, now time.Time) error {
	p, err := decodePapers(raw)
	if err != nil {
		return err
	}
	for i := range p.Revocations {
		_, _ = r.revoke(&p.Revocations[i], now)
	}
	for i := range p.Admissions {
		_, _ = r.admit(&p.Admissions[i], false, now)
	}
	r.mu.Lock()
	r.dirty = false
	r.mu.Unlock()
	return nil
}

func decodePapers(raw []byte) (*papers, error) {
	if len(raw) > maxPapersBytes {
		return nil, fmt.Errorf("over %d bytes", maxPapersBytes)
	}
	var p papers
	if err := canon.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	if len(p.Admissions) > maxAdmissions || len(p.Revocations) > maxRevocations {
		return nil, fmt.Errorf("%d admissions and %d revocations: at most %d and %d", len(p.Admissions), len(p.Revocations), maxAdmissions, maxRevocations)
	}
	return &p, nil
}

// save writes the file if it would say something new. It is durable on return.
func (r *roll) save(dir string) error {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = false
	r.mu.Unlock()
	if !dirty || dir == "" {
		return nil
	}
	if err := replaceFile(filepath.Join(dir, rollFileName), canon.Must(r.papers())); err != nil {
		r.mu.Lock()
		r.dirty = true
		r.mu.Unlock()
		return fmt.Errorf("save the members: %w", err)
	}
	return nil
}

// openRoll makes the roll of a private network.
func (p *Host) openRoll() error {
	if p.cfg.Private == nil {
		return nil
	}
	var boot []sign.PublicKey
	for _, b := range p.boot {
		if k, ok := PublicKey(b.ID); ok {
			boot = append(boot, k)
		}
	}
	p.roll = newRoll(p.cfg.Private, boot)
	if p.cfg.Client || p.cfg.DataDir == "" {
		return nil
	}
	return p.roll.open(p.cfg.DataDir, time.Now())
}
