package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/node"
)

func startCommand() *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "run a peer until Ctrl-C",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE` (default: BPI_HOME/config.toml)"},
			&cli.StringFlag{Name: "engine", Usage: "SQL engine `FILE` for a chain that is begun here (default: BPI_ENGINE, or sql-worker next to bpi)"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the peer, for people"},
		},
		Action: action(startNode),
	}
}

func startNode(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	path := c.String("config")
	if path == "" {
		path = configPath(e.home)
	}
	if c.IsSet("home") { // the flag wins over the environment, which configs reads
		if err := os.Setenv("BPI_HOME", e.home); err != nil {
			return err
		}
	}
	cfg, err := configs.Load(path)
	if err != nil {
		return err
	}
	if cfg.CreateChain {
		engine, err := beginChain(e, cfg, cfg.DataDir, cfg.Genesis, c.String("engine"))
		if err != nil {
			return err
		}
		if engine.path == "" && len(cfg.EngineFiles) == 0 { // a chain begun earlier: bring its engine again if it is at hand
			if engine, err = findEngine(c.String("engine")); err != nil {
				e.say("note: %v", err)
			}
		}
		if engine.path != "" && len(cfg.EngineFiles) == 0 {
			cfg.EngineFiles = []string{engine.path}
		}
	}
	log, closer, err := node.NewLogger(node.LogConfig{
		Dir: cfg.LogDir(), Level: logLevel(cfg.Log.Level), MaxSizeMB: cfg.Log.MaxSizeMB, MaxFiles: cfg.Log.MaxFiles, Also: e.err,
	})
	if err != nil {
		return err
	}
	defer closer.Close()
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	if g, _, err := configs.ReadGenesis(cfg.Genesis); err == nil { // node.New says what is wrong with it
		for _, d := range cfg.Differences(g) {
			log.Warn(d)
		}
	}
	n, err := node.New(cfg, node.Options{Version: version, Logger: log, Name: c.String("name")})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-n.Ready():
			log.Info("ready", "socket", cfg.API.Socket)
		case <-ctx.Done():
		}
	}()
	err = n.Run(ctx)
	cancel()
	<-told
	if err != nil {
		return fmt.Errorf("node: %w; the log is in %s", err, tilde(cfg.LogDir()))
	}
	return nil
}

func logLevel(s string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(s))); err != nil {
		return slog.LevelInfo // configs.Validate allows nothing else
	}
	return l
}
