package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
)

func devnetCommand() *cli.Command {
	dir := &cli.StringFlag{Name: "dir", Usage: "`FOLDER` of the devnet (default: BPI_HOME/devnet)"}
	return &cli.Command{
		Name:  "devnet",
		Usage: "a whole network on this machine",
		Subcommands: []*cli.Command{
			{
				Name: "up", Usage: "start peers as separate processes, and stop them on Ctrl-C",
				Description: "Prints the lines to export on standard output once all peers are ready. The folder is removed when the\n" +
					"devnet stops, unless --keep is given; up on a kept folder continues the same chain.",
				Flags: []cli.Flag{
					dir,
					&cli.IntFlag{Name: "nodes", Value: 4, Usage: "`NUMBER` of peers; each validates and executes"},
					&cli.IntFlag{Name: "gateway-port", Value: 3000, Usage: "`PORT` of the first peer's gateway; 0 takes a free one"},
					schemeFlag("", "the configuration's, or ed25519"),
					&cli.StringFlag{Name: "engine", Usage: "SQL engine `FILE` (default: BPI_ENGINE, or sql-worker next to bpi)"},
					&cli.StringFlag{Name: "config", Usage: "take settings from this TOML `FILE`, and validator_count as the number of peers; ports, folders and roles are the devnet's"},
					&cli.BoolFlag{Name: "detach", Usage: "return when ready and leave the peers running"},
					&cli.BoolFlag{Name: "keep", Usage: "keep the folder when the devnet stops"},
				},
				Action: action(devnetUp),
			},
			{
				Name: "status", Usage: "which peers run, and where they are reached",
				Flags:  []cli.Flag{dir},
				Action: action(devnetStatus),
			},
			{
				Name: "down", Usage: "stop the devnet and remove its folder",
				Flags:  []cli.Flag{dir, &cli.BoolFlag{Name: "keep", Usage: "keep the folder, to go on with it later"}},
				Action: action(devnetDown),
			},
		},
	}
}

func devnetUp(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	settings, err := devnetSettings(c.String("config"))
	if err != nil {
		return err
	}
	if err := takeScheme(c, &settings); err != nil {
		return err
	}
	count := c.Int("nodes")
	if c.String("config") != "" && !c.IsSet("nodes") {
		count = settings.Consensus.ValidatorCount
	}
	if count < 1 || count > 32 {
		return usageError(fmt.Errorf("--nodes %d: want 1 to 32", count))
	}
	dir, err := filepath.Abs(e.devnetDir(c.String("dir")))
	if err != nil {
		return err
	}
	old, err := readDevnet(dir)
	switch {
	case err == nil && len(old.running()) > 0:
		return fmt.Errorf("a devnet runs in %s already (%d peers); stop it with: bpi devnet down", dir, len(old.running()))
	case err == nil && len(old.Nodes) != count && c.IsSet("nodes"):
		return fmt.Errorf("%s holds a devnet of %d peers; go on with --nodes %d, or remove it with: bpi devnet down", dir, len(old.Nodes), len(old.Nodes))
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	state := old
	if state == nil {
		gatewayPort := c.Int("gateway-port")
		if err := checkPortFree(gatewayPort); err != nil {
			return err
		}
		engine, err := findEngine(c.String("engine"))
		if err != nil {
			return err
		}
		state, err = makeDevnet(e, dir, count, gatewayPort, engine, settings)
		if err != nil {
			_ = removeDevnet(dir) // half a folder is of no use; the first error is the one to show
			return err
		}
	} else {
		if err := sameScheme(c, old); err != nil {
			return err
		}
		e.say("going on with %s in %s", state.Network, dir)
	}
	if count == 2 || count == 3 {
		e.say("note: %d validators tolerate no fault; 4 tolerate one", count)
	}
	state.Detached = c.Bool("detach")
	keep := c.Bool("keep")

	d := &devnet{dir: dir, state: state, env: e}
	started := time.Now()
	if err := d.start(); err != nil {
		return errors.Join(err, d.stop(keep || old != nil))
	}
	ctx, cancel := e.bounded(c.Context, 60*time.Second)
	err = d.waitReady(ctx)
	cancel()
	if err != nil {
		d.showLogs()
		return errors.Join(err, d.stop(keep || old != nil))
	}
	e.say("%s is ready: %d peers in %.1f s", state.Network, len(state.Nodes), time.Since(started).Seconds())
	d.printExports()
	if state.Detached {
		e.say("stop it with: bpi devnet down")
		return nil
	}
	e.say("Ctrl-C stops it")
	err = d.supervise(c.Context)
	return errors.Join(err, d.stop(keep))
}

// sameScheme refuses a scheme that is not the kept devnet's.
func sameScheme(c *cli.Context, old *devnetState) error {
	if !c.IsSet("signature-scheme") || len(old.Nodes) == 0 {
		return nil
	}
	g, _, err := configs.ReadGenesis(filepath.Join(old.Nodes[0].Dir, "genesis.cbor"))
	if err != nil {
		return err
	}
	if name := c.String("signature-scheme"); name != g.Scheme.String() {
		return fmt.Errorf("%s holds a devnet whose validators sign by %s, not %s: a chain's scheme is for good; leave --signature-scheme out, or remove it with: bpi devnet down", old.Network, g.Scheme, name)
	}
	return nil
}

// checkPortFree refuses a port that someone listens on, before anything is made.
func checkPortFree(port int) error {
	if port < 0 || port > 65535 {
		return usageError(fmt.Errorf("--gateway-port %d: want 0 to 65535", port))
	}
	if port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("gateway port %d: %w; choose another with --gateway-port, 0 takes a free one", port, err)
	}
	return l.Close()
}

func devnetStatus(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	dir := e.devnetDir(c.String("dir"))
	s, err := readDevnet(dir)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no devnet in %s; start one with: bpi devnet up", dir)
	}
	if err != nil {
		return err
	}
	type line struct {
		devnetNode
		State string `json:"state"`
	}
	lines := []line{}
	for _, n := range s.Nodes {
		l := line{n, "stopped"}
		if n.Process.alive() {
			l.State = "starting"
			ctx, cancel := context.WithTimeout(c.Context, 2*time.Second)
			if ready(ctx, n.Socket) == nil {
				l.State = "ready"
			}
			cancel()
		}
		lines = append(lines, l)
	}
	if e.json {
		return writeJSON(e.out, map[string]any{"network": s.Network, "nodes": lines})
	}
	e.say("%s in %s", s.Network, dir)
	t := newTable(e.out, "PEER", "STATE", "PID", "ADDRESS", "API", "GATEWAY")
	for _, l := range lines {
		t.row(l.Name, l.State, l.Process.Pid, l.Address, l.API, orDash(l.Gateway))
	}
	return t.flush()
}

func devnetDown(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	dir, err := filepath.Abs(e.devnetDir(c.String("dir")))
	if err != nil {
		return err
	}
	s, err := readDevnet(dir)
	if errors.Is(err, os.ErrNotExist) {
		e.say("no devnet in %s", dir)
		return nil
	}
	if err != nil {
		return err
	}
	d := &devnet{dir: dir, state: s, env: e}
	// The supervisor stops its peers when it sees the mark, or its own end; either way it is gone before the folder is.
	if !s.Detached && s.Supervisor.alive() {
		if c.Bool("keep") {
			if err := os.WriteFile(filepath.Join(dir, keepMark), nil, 0o600); err != nil {
				return err
			}
		}
		if err := s.Supervisor.end(20 * time.Second); err != nil {
			return err
		}
	}
	if err := d.stop(c.Bool("keep")); err != nil {
		return err
	}
	e.say("stopped %s (%d peers)", s.Network, len(s.Nodes))
	return nil
}

// keepMark tells a supervisor that is being stopped to keep the folder.
const keepMark = ".keep"

// chainName is the display name for messages.
func chainName(g *consensus.Genesis) string { return g.DisplayName() }
