package main

import (
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// words splits a command line as a shell would, as far as the examples need it.
func words(line string) (out []string) {
	line, _, _ = strings.Cut(line, " > ")
	inside, word := false, ""
	for _, r := range line + " " {
		switch {
		case r == '"':
			inside = !inside
		case r == ' ' && !inside:
			if word != "" {
				out, word = append(out, word), ""
			}
		default:
			word += string(r)
		}
	}
	return out
}

func TestExamplesAreWellFormed(t *testing.T) {
	for path, lines := range examples {
		if _, ok := leaves[path]; !ok {
			t.Errorf("examples for bpi %s, which is no command", path)
		}
		for _, line := range lines {
			app := newApp(os.Stdout, os.Stderr)
			reached := ""
			var walk func(list []*cli.Command)
			walk = func(list []*cli.Command) {
				for _, c := range list {
					if len(c.Subcommands) > 0 {
						walk(c.Subcommands)
						continue
					}
					c.Action = func(c *cli.Context) error { reached = strings.TrimPrefix(c.Command.HelpName, "bpi "); return nil }
				}
			}
			walk(app.Commands)
			if err := app.Run(arrange(app, words(line))); err != nil || reached != path {
				t.Errorf("%s: reaches %q, %v; want %q", line, reached, err, path)
			}
		}
	}
}

func TestHelpShowsExamplesAndExitCodes(t *testing.T) {
	code, out, _ := bpi(t, t.TempDir(), "--help")
	if code != 0 || !strings.Contains(out, "Exit codes: 0 done") || !strings.Contains(out, "bpi devnet up --nodes 4") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for path, lines := range examples {
		if _, out, _ := bpi(t, t.TempDir(), append(strings.Fields(path), "--help")...); !strings.Contains(out, lines[0]) {
			t.Errorf("bpi %s --help lacks %q:\n%s", path, lines[0], out)
		}
	}
}
