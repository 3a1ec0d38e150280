package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make a peer's keys and configuration in BPI_HOME",
		Description: "With --genesis the peer joins that chain; it follows it, and validates or executes if the chain admits its\n" +
			"keys. With --bootstrap alone it asks those peers for the genesis, and believes them. With --new-chain it begins a chain of its own: of one validator, or with --founder of several peers, that\n" +
			"have each made a card with --card. The genesis document then goes to all of them, and each joins with --genesis.\n" +
			"With --join it enters a private network: the invitation names the chain and its peers, so nothing else is needed.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "genesis", Usage: "genesis `FILE` of the chain to join (default: the bootstrap peers' word)"},
			&cli.StringSliceFlag{Name: "bootstrap", Usage: "`MULTIADDR` of a peer to join by; may be given more than once"},
			&cli.StringFlag{Name: "join", Usage: "`INVITATION` to a private network, as bpi network invite printed it; @FILE or - reads it from a file or standard input"},
			&cli.BoolFlag{Name: "private", Usage: "keep the peer to its network's members; with --genesis, for a founder of a private network"},
			&cli.StringFlag{Name: "swarm-key", Usage: "swarm key `FILE` of a sealed network"},
			&cli.BoolFlag{Name: "new-chain", Usage: "begin a chain, of this peer and of those whose cards are given with --founder"},
			&cli.StringSliceFlag{Name: "founder", Usage: "card `FILE` of another peer that the new chain begins with; may be given more than once"},
			&cli.BoolFlag{Name: "card", Usage: "make the keys and write this peer's card, its public keys, to standard output, and do nothing else"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of this peer in its card or in the new chain (default: the machine's)"},
			&cli.StringFlag{Name: "network", Usage: "`NAME` of the network"},
			schemeFlag(", for --new-chain", "ed25519"),
			&cli.StringFlag{Name: "engine", Usage: "SQL engine `FILE` for --new-chain"},
			&cli.IntFlag{Name: "listen-port", Value: 4001, Usage: "libp2p `PORT`; 0 lets the system choose"},
			&cli.BoolFlag{Name: "print-config", Usage: "write the configuration with all its keys to standard output, and do nothing else"},
		},
		Action: action(initialise),
	}
}

func initialise(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	cfg := configs.Default()
	cfg.Network = c.String("network")
	if p := c.Int("listen-port"); p < 0 || p > 65535 {
		return usageError(fmt.Errorf("--listen-port %d: want 0 to 65535", p))
	}
	cfg.P2P.ListenPort = uint16(c.Int("listen-port"))
	cfg.P2P.Bootstrap = append(cfg.P2P.Bootstrap, c.StringSlice("bootstrap")...)
	cfg.DataDir = "."
	if err := takeScheme(c, &cfg); err != nil {
		return err
	}
	if c.Bool("print-config") {
		_, err := e.out.Write(configs.Text(cfg))
		return err
	}
	from, fresh := c.String("genesis"), c.Bool("new-chain")
	if c.Bool("card") {
		if from != "" || fresh || c.String("join") != "" || len(c.StringSlice("founder")) > 0 {
			return usageError(errors.New("bpi init: --card stands alone, but for --name"))
		}
		return writeCard(e, c.String("name"))
	}
	if !fresh && c.IsSet("signature-scheme") {
		return usageError(errors.New("bpi init: --signature-scheme goes with --new-chain; a chain that exists has its own"))
	}
	if !fresh && len(c.StringSlice("founder")) > 0 {
		return usageError(errors.New("bpi init: --founder goes with --new-chain"))
	}
	if c.String("join") != "" {
		if fresh || len(cfg.P2P.Bootstrap) > 0 {
			return usageError(errors.New("bpi init: --join stands without --new-chain and --bootstrap: the invitation names the network and its peers"))
		}
		return joinPrivate(c, e, cfg)
	}
	cfg.P2P.Private = c.Bool("private")
	if cfg.P2P.Private && from == "" {
		return usageError(errors.New("bpi init: --private goes with --genesis FILE; to begin a private network: bpi network create --private; to enter one: bpi init --join"))
	}
	sealed := c.String("swarm-key")
	if sealed != "" && from == "" {
		return usageError(errors.New("bpi init: --swarm-key goes with --join or --genesis"))
	}
	if join := from != "" || len(cfg.P2P.Bootstrap) > 0; fresh && from != "" || !fresh && !join {
		return usageError(errors.New("bpi init: want either --genesis FILE or --bootstrap MULTIADDR, to join a chain, or --new-chain, to begin one"))
	}
	if fresh {
		return found(c, e, cfg)
	}
	if sealed != "" {
		key, err := p2p.ReadSwarmKey(sealed)
		if err != nil {
			return err
		}
		if err := keepSwarmKey(e, &cfg, key); err != nil {
			return err
		}
	}
	if err := cfg.Validate(); err != nil {
		return usageError(err)
	}
	if err := noConfigYet(e); err != nil {
		return err
	}
	g, raw, err := genesisToJoin(c.Context, e, from, cfg.P2P.Bootstrap)
	if err != nil {
		return err
	}
	if len(cfg.P2P.Bootstrap) == 0 {
		e.say("note: no --bootstrap was given; the peer waits to be found until one stands in %s", tilde(configPath(e.home)))
	}
	return join(e, cfg, g, raw)
}

// noConfigYet refuses a home that is a peer's already.
func noConfigYet(e *env) error {
	path := configPath(e.home)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is there already; edit it, or choose another folder with --home", path)
	}
	return nil
}

// found begins a chain of this peer and of those whose cards are given, and writes its configuration.
func found(c *cli.Context, e *env, cfg configs.Config) error {
	if cfg.Network == "" {
		cfg.Network = "metanode"
	}
	if err := cfg.Validate(); err != nil {
		return usageError(err)
	}
	if err := noConfigYet(e); err != nil {
		return err
	}
	engine, err := findEngine(c.String("engine"))
	if err != nil {
		return err
	}
	genesis := filepath.Join(e.home, "genesis.cbor")
	if _, err := os.Stat(genesis); err == nil {
		return fmt.Errorf("%s is there already: a chain was begun here; remove it, or choose another folder with --home", genesis)
	}
	list, err := founders(e, c.String("name"), c.StringSlice("founder"))
	if err != nil {
		return err
	}
	if err := writeGenesis(e, cfg, list, engine, genesis); err != nil {
		return err
	}
	cfg.Consensus.ValidatorCount = len(list)
	cfg.EngineFiles = []string{engine.path}
	if len(list) > 1 {
		more := ""
		if cfg.P2P.Private {
			more = " --private"
		}
		if cfg.P2P.SwarmKey != "" {
			more += " --swarm-key swarm.key"
		}
		e.say("give %s to the other founders; each joins with: bpi init --genesis genesis.cbor --bootstrap MULTIADDR%s", tilde(genesis), more)
		if len(list) < 4 {
			e.say("note: %d validators tolerate no fault; 4 tolerate one", len(list))
		}
	}
	return writeHome(e, cfg)
}

// join writes the home of a peer that joins the chain of g.
func join(e *env, cfg configs.Config, g *consensus.Genesis, raw []byte) error {
	cfg.Consensus = configs.Consensus{BlockTimeMs: g.BlockTimeMs, MaxTransactionsPerBlock: g.MaxTxsPerBlock, SignatureScheme: g.Scheme.String(), ValidatorCount: len(g.Validators)}
	if cfg.Network != "" && cfg.Network != g.Name {
		return fmt.Errorf("the genesis document begins network %q, not %q; correct --network, or get the other network's document", g.Name, cfg.Network)
	}
	cfg.Network = g.Name
	if _, err := makeKeys(e.home); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(e.home, "genesis.cbor"), raw); err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	e.say("joins %s", g.DisplayName())
	return writeHome(e, cfg)
}

// writeHome ends every way of making a peer: it writes the configuration and says how to go on.
func writeHome(e *env, cfg configs.Config) error {
	path := configPath(e.home)
	if err := configs.Write(path, cfg); err != nil {
		return err
	}
	keys, err := makeKeys(e.home)
	if err != nil {
		return err
	}
	e.say("wrote %s", tilde(path))
	e.say("start the peer with: bpi node start --config %s", tilde(path))
	if e.json {
		return writeJSON(e.out, map[string]any{"config": path, "peer": p2p.PeerID(keys.node).String(), "node": keys.node, "validator": keys.validator, "operator": keys.operator})
	}
	fmt.Fprintln(e.out, p2p.PeerID(keys.node))
	return nil
}

// genesisToJoin gives the document of the chain to join and its bytes: those of the file, or without one those of the
// first bootstrap peer that answers. The peer is the one that its address names, but whether its chain is the one that
// was meant, only the person can tell.
func genesisToJoin(ctx context.Context, e *env, file string, bootstrap []string) (*consensus.Genesis, []byte, error) {
	if file != "" {
		return configs.ReadGenesis(file)
	}
	var errs []error
	for _, addr := range bootstrap {
		raw, err := askGenesis(ctx, e, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g, err := configs.ParseGenesis(raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("genesis document of peer %s: %w", addr, err))
			continue
		}
		e.say("peer %s gave the genesis document of chain %s: compare this id with one that you have from somebody you trust", addr, g.ChainID())
		return g, raw, nil
	}
	return nil, nil, fmt.Errorf("no bootstrap peer gave its genesis document; get the file from whoever runs the network, and name it with --genesis: %w", errors.Join(errs...))
}

func askGenesis(ctx context.Context, e *env, addr string) ([]byte, error) {
	c, err := e.dialPeer(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.Genesis(ctx)
	return raw, c.explain(err)
}

// makeKeys loads a peer's three keys from dir/keys, and makes those that are missing.
func makeKeys(dir string) (founder, error) {
	var f founder
	for role, to := range map[keyfile.Role]*sign.PublicKey{keyfile.Node: &f.node, keyfile.Validator: &f.validator, keyfile.Operator: &f.operator} {
		key, _, err := keyfile.LoadOrCreate(filepath.Join(dir, "keys", role.FileName()), role, rand.Reader)
		if err != nil {
			return f, err
		}
		*to = key.Public()
		if role == keyfile.Validator {
			f.bls = consensus.ProveBLS(key)
		}
	}
	return f, nil
}

// schemeFlag chooses how the validators of a new chain sign.
func schemeFlag(purpose, standard string) cli.Flag {
	return &cli.StringFlag{Name: "signature-scheme", Usage: "`SCHEME` by which validators sign votes" + purpose + ": ed25519 or bls12-381 (default: " + standard + ")"}
}

// takeScheme puts the flag's choice in the settings of the chain to begin.
func takeScheme(c *cli.Context, cfg *configs.Config) error {
	if !c.IsSet("signature-scheme") {
		return nil
	}
	scheme, err := consensus.ParseScheme(c.String("signature-scheme"))
	if err != nil {
		return usageError(fmt.Errorf("--signature-scheme: %w", err))
	}
	cfg.Consensus.SignatureScheme = scheme.String()
	return nil
}

// beginChain writes the genesis document of a chain of one validator, if there is none at path yet. It gives the engine
// file that the chain names.
func beginChain(e *env, cfg configs.Config, dataDir, path, engineFlag string) (engineFile, error) {
	if _, err := os.Stat(path); err == nil {
		return engineFile{}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return engineFile{}, fmt.Errorf("look for genesis: %w", err)
	}
	if engineFlag == "" && len(cfg.EngineFiles) > 0 {
		engineFlag = cfg.EngineFiles[0]
	}
	engine, err := findEngine(engineFlag)
	if err != nil {
		return engine, err
	}
	f, err := makeKeys(dataDir)
	if err != nil {
		return engine, err
	}
	f.name = "node1"
	return engine, writeGenesis(e, cfg, []founder{f}, engine, path)
}

// writeGenesis begins a chain now.
func writeGenesis(e *env, cfg configs.Config, list []founder, engine engineFile, path string) error {
	g, err := newGenesis(cfg.Network, cfg, list, engine, time.Now())
	if err != nil {
		return err
	}
	if err := writeNew(path, canon.Must(g)); err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	e.say("began chain %s, of %s, in %s", g.DisplayName(), count(len(list), "validator"), tilde(filepath.Dir(path)))
	return nil
}
