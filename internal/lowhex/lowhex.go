// Package lowhex reads the one way in which digests, keys and signatures are written in text: lower-case hexadecimal
// digits, two a byte, nothing else. One spelling for one value, so that texts may be compared.
package lowhex

import (
	"encoding/hex"
	"fmt"
)

// Decode fills dst from text, which is called what in errors. After an error dst is undefined.
func Decode(dst, text []byte, what string) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("%s: want %d hexadecimal digits, have %d", what, 2*len(dst), len(text))
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return fmt.Errorf("%s: want lower-case hexadecimal digits", what)
		}
	}
	return nil
}
