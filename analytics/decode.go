package analytics

import (
	"io"
	"slices"

	"github.com/metanode/metanode/internal/digest"
)

// OrderedDigest is the SHA-256 of a whole stream: what executors agree on, and the digest of the blob.
func OrderedDigest(stream []byte) digest.Digest { return digest.Of(stream) }

// MultisetDigest is the same for two results with the same schema and the same rows in any order. It only diagnoses:
// agreement is by OrderedDigest. It reads the stream to its end, at most limitBytes (0 is 1 GiB).
func MultisetDigest(r io.Reader, limitBytes int64) (digest.Digest, error) {
	d, err := NewReader(r, limitBytes)
	if err != nil {
		return digest.Digest{}, err
	}
	parts := [][]byte{d.whole.Sum(nil)} // the head
	for {
		_, err := d.Next()
		if err == io.EOF {
			slices.SortFunc(parts[1:], slices.Compare[[]byte])
			return digest.Sum("analytics/multiset/1", parts...), nil
		}
		if err != nil {
			return digest.Digest{}, err
		}
		parts = append(parts, d.row.Sum(nil))
		d.row = nil
	}
}

// Result is a whole result in memory.
type Result struct {
	Columns []Field
	Rows    [][]Value
}

// Decode reads a whole stream of at most limitBytes (0 is 64 MiB), the default limit of a job's output.
func Decode(r io.Reader, limitBytes int64) (*Result, error) {
	if limitBytes <= 0 {
		limitBytes = DefaultOutputBytes
	}
	d, err := NewReader(r, limitBytes)
	if err != nil {
		return nil, err
	}
	out := &Result{Columns: d.Columns()}
	for {
		row, err := d.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out.Rows = append(out.Rows, row)
	}
}
