package enc

import (
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/digest"
)

func checkRound(job digest.Digest, round uint32) error {
	if round == 0 {
		return fmt.Errorf("round 0: rounds begin with 1")
	}
	return checkDigest("job", job)
}

func checkDigest(what string, d digest.Digest) error {
	if d.IsZero() {
		return fmt.Errorf("no %s", what)
	}
	return nil
}

func checkText(what, s string, maxBytes int) error {
	if len(s) > maxBytes || !utf8.ValidString(s) {
		return fmt.Errorf("%s: want at most %d bytes of UTF-8, have %d bytes", what, maxBytes, len(s))
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return fmt.Errorf("%s: control characters are not allowed", what)
		}
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// cleanPath accepts "users/0.csv" and nothing that could name a place outside of its folder, or the same twice.
func cleanPath(p string) bool {
	if p == "" || len(p) > MaxPathBytes || !printable(p) || strings.Contains(p, `\`) {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func validName(n string) bool {
	if len(n) == 0 || len(n) > 63 || n[0] < 'a' || n[0] > 'z' {
		return false
	}
	for i := range len(n) {
		c := n[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func sortedDigests(l []digest.Digest) bool {
	for i := range l {
		if l[i].IsZero() || (i > 0 && l[i-1].Compare(l[i]) >= 0) {
			return false
		}
	}
	return true
}

// satAdd is a + b, or the highest number where that overflows.
func satAdd(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return ^uint64(0)
}
