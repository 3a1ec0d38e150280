package e2e

import (
	"strings"
	"testing"
)

// TestCagePage does what docs/cage.md shows: each of its blocks says what must come of it.
func TestCagePage(t *testing.T) {
	has(t, "python3", "gcc", "taskset")
	newShelf(t) // skips where there is no cage
	list := blocks(t, "../docs/cage.md", "```sh run")
	if len(list) < 5 {
		t.Fatalf("the page has %d blocks to run", len(list))
	}
	out := shell(t, "cd \"$SCRATCH\"\n"+strings.Join(list, "\n"))
	for _, want := range []string{"ok: same witness ", "Address family not supported", "nehalem", "no result (spin)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}
