package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/configs"
)

// run executes one command line and gives the exit code. Everything it writes goes to stdout and stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, arrange(app, args))
	if err == nil {
		return 0
	}
	var e *exitError
	if errors.As(err, &e) && e.quiet {
		return e.code
	}
	fmt.Fprintf(stderr, "bpi: %s\n", err)
	return exitCode(err)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                 "bpi",
		Usage:                "run jobs on machines that nobody has to trust, and check the receipts",
		Version:              version,
		HideVersion:          true,
		Writer:               stdout,
		ErrWriter:            stderr,
		EnableBashCompletion: true,
		Suggest:              true,
		ExitErrHandler:       func(*cli.Context, error) {}, // run decides
		OnUsageError:         flagProblem,
		Flags:                tidyFlags(globalFlags()),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			return cli.ShowAppHelp(c)
		},
		Description: about,
		Commands: withUsageErrors(withExamples("", []*cli.Command{
			devnetCommand(), initCommand(), nodeCommand(),
			analyticsCommand(), datasetCommand(), imageCommand(), blobCommand(), jobCommand(), containerCommand(),
			receiptCommand(), securityCommand(),
			chainCommand(), networkCommand(), policyCommand(), keyCommand(),
			statusCommand(), doctorCommand(), completionCommand(), versionCommand(),
		})),
	}
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "peer", EnvVars: []string{"BPI_PEER"}, Usage: "reach this peer over libp2p: `/ip4/…/tcp/…/p2p/…`"},
		&cli.StringFlag{Name: "api", EnvVars: []string{"BPI_API"}, Usage: "reach a node's API at `ADDRESS`: unix:///… or http://…"},
		&cli.StringFlag{Name: "home", EnvVars: []string{"BPI_HOME"}, Usage: "`FOLDER` of keys, trust and data (default: ~/.bpi)"},
		&cli.BoolFlag{Name: "json", EnvVars: []string{"BPI_JSON"}, Usage: "write JSON, for programs"},
		&cli.DurationFlag{Name: "timeout", EnvVars: []string{"BPI_TIMEOUT"}, Usage: "give up waiting after `TIME` (default: depends on the command)"},
	}
}

// withUsageErrors gives every command, at any depth, the same answer to a wrong flag or subcommand.
func withUsageErrors(list []*cli.Command) []*cli.Command {
	for _, c := range list {
		c.OnUsageError = flagProblem
		tidyFlags(c.Flags)
		if len(c.Subcommands) > 0 {
			if c.Action == nil {
				c.Action = func(c *cli.Context) error {
					if c.Args().Present() {
						return unknownCommand(c)
					}
					return cli.ShowSubcommandHelp(c)
				}
			}
			withUsageErrors(c.Subcommands)
		}
	}
	return list
}

// flagProblem puts the flag library's complaint in this program's words.
func flagProblem(c *cli.Context, err error, _ bool) error {
	where := "bpi"
	flags := c.App.Flags
	if c.Command != nil && c.Command.HelpName != "" {
		where, flags = c.Command.HelpName, c.Command.Flags
	}
	next := "; try: " + where + " --help"
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		hint := ""
		if s := strings.TrimLeft(cli.SuggestFlag(flags, name, true), "-"); s != "" && s != "help" {
			hint = fmt.Sprintf("; did you mean --%s?", s)
		}
		return usageError(fmt.Errorf("%s has no flag --%s%s%s", where, name, hint, next))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usageError(fmt.Errorf("--%s: a value is missing%s", strings.TrimLeft(name, "-"), next))
	}
	return usageError(fmt.Errorf("%s: %w%s", where, err, next))
}

// tidyFlags keeps the library from adding a default of its own to those that a usage text names in words, and from telling
// that a switch is off.
func tidyFlags(list []cli.Flag) []cli.Flag {
	words := func(usage, text *string) {
		if head, tail, ok := strings.Cut(*usage, " (default: "); ok {
			*usage, *text = head, strings.TrimSuffix(tail, ")")
		}
	}
	for _, f := range list {
		switch f := f.(type) {
		case *cli.BoolFlag:
			f.DisableDefaultText = true
		case *cli.UintFlag:
			words(&f.Usage, &f.DefaultText)
		case *cli.Uint64Flag:
			words(&f.Usage, &f.DefaultText)
		case *cli.DurationFlag:
			words(&f.Usage, &f.DefaultText)
		}
	}
	return list
}

func unknownCommand(c *cli.Context) error {
	name := c.Args().First()
	hint := ""
	if s := cli.SuggestCommand(c.Command.Subcommands, name); s != "" {
		hint = strings.Replace(s, "Did", "did", 1) + " " // the library makes it a question
	}
	return usageError(fmt.Errorf("%s has no command %q; %stry: %s --help", c.Command.HelpName, name, hint, c.Command.HelpName))
}

// env is what every command needs to know about its surroundings.
type env struct {
	home    string // absolute
	out     io.Writer
	err     io.Writer
	json    bool
	timeout time.Duration // 0: not given
	api     string        // --api or BPI_API
	peer    string        // --peer or BPI_PEER
	apiFlag bool          // --api stands on the command line
	admin   bool          // the command administers a node
}

func envOf(c *cli.Context) (*env, error) {
	e := &env{
		out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json"), timeout: c.Duration("timeout"),
		api: c.String("api"), peer: c.String("peer"), apiFlag: argumentGiven(c, "api"),
	}
	if e.timeout < 0 {
		return nil, usageError(fmt.Errorf("--timeout %s: want more than zero", e.timeout))
	}
	home := c.String("home")
	var err error
	if home == "" {
		home, err = configs.Home()
	} else {
		home, err = filepath.Abs(home)
	}
	if err != nil {
		return nil, err
	}
	e.home = home
	return e, nil
}

// argumentGiven reports whether a global flag stands on the command line rather than in the environment.
func argumentGiven(c *cli.Context, name string) bool {
	if !c.IsSet(name) {
		return false
	}
	v, ok := os.LookupEnv("BPI_" + map[string]string{"api": "API", "peer": "PEER"}[name])
	return !ok || v != c.String(name)
}

// action wraps a command that needs an env.
func action(f func(c *cli.Context, e *env) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		e, err := envOf(c)
		if err != nil {
			return err
		}
		return f(c, e)
	}
}

// bounded is ctx with the command's timeout, or def where none was given; 0 means no bound.
func (e *env) bounded(ctx context.Context, def time.Duration) (context.Context, context.CancelFunc) {
	d := e.timeout
	if d == 0 {
		d = def
	}
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// say writes a line of progress or a hint.
func (e *env) say(format string, args ...any) { fmt.Fprintf(e.err, format+"\n", args...) }

// argument gives the command's one positional argument.
func argument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usageError(fmt.Errorf("%s: want one %s, have %d arguments; try: %s --help", c.Command.HelpName, what, c.NArg(), c.Command.HelpName))
	}
	return c.Args().First(), nil
}

// noArguments refuses positional arguments, so that a forgotten flag is not swallowed.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageError(fmt.Errorf("%s takes no argument %q; try: %s --help", c.Command.HelpName, c.Args().First(), c.Command.HelpName))
	}
	return nil
}
