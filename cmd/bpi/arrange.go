package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange lets flags stand anywhere on the command line, as people write them: `bpi dataset add FILE --name users`.
// The library reads flags only before the first argument, and global ones only before the command, so they are moved
// there. What follows "--" is never a flag, and neither is what follows the name of a program to run.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	completing := args[len(args)-1] == "--generate-bash-completion"
	if completing {
		return args
	}
	global := flagIndex(app.Flags)
	commands := app.Commands
	var (
		globals    []string
		path       []string
		local      = map[string]bool{}
		flags      []string
		arguments  []string
		positional bool
	)
	rest := args[1:]
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		if a == "--" {
			arguments = append(arguments, rest[i+1:]...)
			break
		}
		if len(a) > 1 && a[0] == '-' && !isNumber(a) {
			name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
			needsValue, known := local[name]
			to := &flags
			if !known {
				if needs, ok := global[name]; ok {
					needsValue, to = needs, &globals
				}
			}
			*to = append(*to, a)
			if needsValue && !joined && i+1 < len(rest) {
				i++
				*to = append(*to, rest[i])
			}
			continue
		}
		if !positional {
			if c := commandNamed(commands, a); c != nil {
				path = append(path, a)
				commands = c.Subcommands
				local = flagIndex(c.Flags)
				continue
			}
		}
		if takesProgram[strings.Join(path, " ")] {
			arguments = append(arguments, rest[i:]...)
			break
		}
		positional = true
		arguments = append(arguments, a)
	}
	out := append([]string{args[0]}, globals...)
	out = append(out, path...)
	out = append(out, flags...)
	if len(arguments) > 0 {
		if strings.HasPrefix(arguments[0], "-") {
			out = append(out, "--")
		}
		out = append(out, arguments...)
	}
	return out
}

// takesProgram are the commands whose argument is a program with arguments of its own.
var takesProgram = map[string]bool{"container run": true}

// flagIndex maps every name of the flags to whether the flag takes a value.
func flagIndex(flags []cli.Flag) map[string]bool {
	m := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, n := range f.Names() {
			m[n] = !isBool
		}
	}
	return m
}

func commandNamed(list []*cli.Command, name string) *cli.Command {
	for _, c := range list {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// isNumber tells -5 from a flag.
func isNumber(s string) bool { return len(s) > 1 && s[1] >= '0' && s[1] <= '9' }
