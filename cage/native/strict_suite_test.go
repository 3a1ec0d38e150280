package native_test

import (
	"path/filepath"
	"testing"

	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/cage/native"
)

// TestStrictSuite runs the suite of the strict mode, as root and as an ordinary user.
func TestStrictSuite(t *testing.T) {
	cagetest.Strict(t, func(t testing.TB, dir string) cagetest.StrictEngine {
		e, err := native.New(native.Config{Dir: filepath.Join(dir, "cage")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := e.Ready(); err != nil {
			t.Skip(err)
		}
		return e
	})
}
