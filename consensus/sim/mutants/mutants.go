// Package mutants breaks the safety rules of package consensus one by one, in copies of its sources, to see whether the
// suite that is to guard them notices. A mutant is an edit; the toolchain compiles the suite over the edited source
// (go test -overlay), so that the core itself has no switch that turns a rule off.
package mutants

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutant is one broken rule.
type Mutant struct {
	Name  string
	Edits []Edit
	By    []string // the tests that must fail, each by its name
}

// Edit replaces Old, which stands exactly once in File, by New.
type Edit struct{ File, Old, New string }

// Overlay writes the mutant's sources under dir, and the file that tells the toolchain to compile them in place of those
// in folder source, whose name it returns. An edit that no longer fits the source is an error: the mutant must follow it.
func (m *Mutant) Overlay(source, dir string) (string, error) {
	text := make(map[string][]byte)
	for _, e := range m.Edits {
		if text[e.File] == nil {
			raw, err := os.ReadFile(filepath.Join(source, e.File))
			if err != nil {
				return "", fmt.Errorf("mutant %q: %w", m.Name, err)
			}
			text[e.File] = raw
		}
		if n := bytes.Count(text[e.File], []byte(e.Old)); n != 1 {
			return "", fmt.Errorf("mutant %q: its text stands %d times in %s, want once: rewrite the mutant for the rule as it is now:\n%s", m.Name, n, e.File, e.Old)
		}
		text[e.File] = bytes.Replace(text[e.File], []byte(e.Old), []byte(e.New), 1)
	}
	replace := make(map[string]string)
	for file, raw := range text {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(to, raw, 0o600); err != nil {
			return "", fmt.Errorf("mutant %q: %w", m.Name, err)
		}
		replace[filepath.Join(source, file)] = to
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, raw, 0o600)
}
