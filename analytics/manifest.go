package analytics

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// MaxManifestBytes bounds an encoded manifest.
const MaxManifestBytes = 4 << 20

// MaxFileBytes bounds one file of a dataset: 1 TiB.
const MaxFileBytes = 1 << 40

// Manifest is a dataset: content-addressed, complete, nothing to be guessed when it is queried.
type Manifest struct {
	_       struct{} `cbor:",toarray"`
	Version uint32   // 1
	Format  string   // "csv", "parquet" or "ndjson"
	Columns []Column
	Dialect Dialect  // of CSV
	Keys    []Column // Hive partition columns, in the order of the folders
	Files   []File   // sorted by Path
	Rows    uint64
}

// File is one file of a dataset.
type File struct {
	_      struct{} `cbor:",toarray"`
	Path   string   // as it was added, relative to the dataset's folder; for people
	Digest digest.Digest
	Bytes  uint64
	Rows   uint64
	Values []string // partition values, one for each of Keys
}

// Validate checks the form and the bounds.
func (m *Manifest) Validate() error {
	if m.Version != 1 {
		return fmt.Errorf("manifest version %d: want 1", m.Version)
	}
	if err := checkSchema("manifest", m.Format, m.Columns, m.Keys); err != nil {
		return err
	}
	if len(m.Columns) == 0 {
		return errors.New("manifest: no columns")
	}
	if len(m.Files) == 0 || len(m.Files) > MaxFiles {
		return fmt.Errorf("manifest: %d files: want 1 to %d", len(m.Files), MaxFiles)
	}
	var rows uint64
	for i, f := range m.Files {
		if f.Path == "" || len(f.Path) > 1024 || path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) || strings.HasPrefix(f.Path, "..") {
			return fmt.Errorf("manifest: file path %.80q is not a clean relative path", f.Path)
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("manifest: file %.80q is out of order", f.Path)
		}
		if f.Digest.IsZero() || f.Bytes == 0 || f.Bytes > MaxFileBytes {
			return fmt.Errorf("manifest: file %.80q: no digest, or %d bytes", f.Path, f.Bytes)
		}
		if len(f.Values) != len(m.Keys) {
			return fmt.Errorf("manifest: file %.80q: %d partition values for %d partition columns", f.Path, len(f.Values), len(m.Keys))
		}
		if rows+f.Rows < rows {
			return errors.New("manifest: too many rows")
		}
		rows += f.Rows
	}
	if rows != m.Rows {
		return fmt.Errorf("manifest: %d rows in all, and %d in its files", m.Rows, rows)
	}
	return nil
}

// Encode gives the canonical bytes: the manifest's blob.
func (m *Manifest) Encode() []byte { return canon.Must(m) }

// Digest names the dataset: the plain SHA-256 of Encode.
func (m *Manifest) Digest() digest.Digest { return digest.Of(m.Encode()) }

// Bytes is the size of all files.
func (m *Manifest) Bytes() uint64 {
	var n uint64
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// DecodeManifest reads and checks a manifest. It is safe on untrusted bytes.
func DecodeManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifestBytes {
		return nil, fmt.Errorf("manifest of %d bytes: over the limit of %d", len(b), MaxManifestBytes)
	}
	var m Manifest
	if err := canon.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Table is the dataset as the worker sees it under name. Neighbouring files with the same partition values share a part.
func (m *Manifest) Table(name string) Table {
	t := Table{Name: name, Format: m.Format, Columns: m.Columns, Dialect: m.Dialect, Keys: m.Keys}
	for _, f := range m.Files {
		if n := len(t.Parts); n > 0 && equal(t.Parts[n-1].Values, f.Values) {
			t.Parts[n-1].Files++
			continue
		}
		t.Parts = append(t.Parts, Part{Files: 1, Values: f.Values})
	}
	return t
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
