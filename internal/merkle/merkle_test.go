package merkle

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

// naive is RFC 6962 section 2.1 word for word.
func naive(entries [][]byte) digest.Digest {
	n := len(entries)
	if n == 0 {
		return sha256.Sum256(nil)
	}
	if n == 1 {
		return sha256.Sum256(append([]byte{0}, entries[0]...))
	}
	k := 1
	for 2*k < n {
		k *= 2
	}
	l, r := naive(entries[:k]), naive(entries[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

func list(n int) [][]byte {
	l := make([][]byte, n)
	for i := range l {
		l[i] = fmt.Appendf(nil, "entry %d", i)
	}
	return l
}

func TestRootIsRFC6962(t *testing.T) {
	for n := range 70 {
		if Root(list(n)) != naive(list(n)) {
			t.Fatalf("root of %d entries differs from the definition", n)
		}
	}
	// The vectors of the certificate-transparency reference implementation.
	in := [][]byte{{}, {0x00}, {0x10}, {0x20, 0x21}, {0x30, 0x31}, {0x40, 0x41, 0x42, 0x43},
		{0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57},
		{0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f}}
	if got := Root(in).String(); got != "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" {
		t.Fatalf("root of the reference vector is %s", got)
	}
}

func TestProofVerifiesOnlyItsEntryAndPlace(t *testing.T) {
	for n := 1; n <= 33; n++ {
		l := list(n)
		root := Root(l)
		for i := range l {
			p := Proof(l, i)
			if err := Verify(root, l[i], uint64(i), uint64(n), p); err != nil {
				t.Fatalf("entry %d of %d: %v", i, n, err)
			}
			for j := range n + 1 {
				if j != i && Verify(root, l[i], uint64(j), uint64(n), p) == nil {
					t.Fatalf("entry %d of %d verified at place %d", i, n, j)
				}
			}
			if Verify(root, []byte("other"), uint64(i), uint64(n), p) == nil {
				t.Fatalf("another entry verified at place %d of %d", i, n)
			}
			for k := range p {
				q := append([]digest.Digest(nil), p...)
				q[k][0] ^= 1
				if Verify(root, l[i], uint64(i), uint64(n), q) == nil {
					t.Fatalf("a spoilt proof verified at place %d of %d", i, n)
				}
			}
			if Verify(root, l[i], uint64(i), uint64(n), append(p, root)) == nil {
				t.Fatalf("a proof that is too long verified at place %d of %d", i, n)
			}
			if len(p) > 0 && Verify(root, l[i], uint64(i), uint64(n), p[:len(p)-1]) == nil {
				t.Fatalf("a proof that is too short verified at place %d of %d", i, n)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	l := list(5)
	f.Add([]byte("entry 2"), uint64(2), uint64(5), flat(Proof(l, 2)))
	f.Add([]byte("entry 0"), ^uint64(0), ^uint64(0), []byte{})
	f.Fuzz(func(t *testing.T, entry []byte, index, size uint64, raw []byte) {
		var p []digest.Digest
		for ; len(raw) >= digest.Size && len(p) < 100; raw = raw[digest.Size:] {
			p = append(p, digest.Digest(raw[:digest.Size]))
		}
		root := Root(l)
		if Verify(root, entry, index, size, p) == nil && size == 5 && string(entry) != fmt.Sprintf("entry %d", index) {
			t.Fatalf("%q verified at place %d of 5", entry, index)
		}
	})
}

func flat(p []digest.Digest) []byte {
	var b []byte
	for _, d := range p {
		b = append(b, d[:]...)
	}
	return b
}
