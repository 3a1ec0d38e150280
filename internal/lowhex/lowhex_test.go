package lowhex

import (
	"encoding/hex"
	"testing"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte("00ff10"))
	f.Add([]byte("00FF10"))
	f.Add([]byte("00ff1"))
	f.Add([]byte("00ff1g"))
	f.Add([]byte("0x0f10"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var dst [3]byte
		if err := Decode(dst[:], text, "three bytes"); (err == nil) != isLower(text) {
			t.Fatalf("%q: %v", text, err)
		} else if err == nil && hex.EncodeToString(dst[:]) != string(text) {
			t.Fatalf("%q is read as %x", text, dst)
		}
	})
}

func isLower(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(text) == 6
}
