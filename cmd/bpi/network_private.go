package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/invite"
)

// The files of a private network in a home.
const (
	invitationFile = "invitation.txt" // this peer's own
	swarmKeyFile   = "swarm.key"
	invitationsDir = "invitations" // those that were signed here, without their secrets
)

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "begin a network with this peer", ArgsUsage: "NAME",
		Description: "It makes what bpi init --new-chain makes. With --private, peers connect to members only: those that the chain\n" +
			"names, and whom bpi network invite lets in. With --sealed besides, whoever has not got the swarm key sees no handshake.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "private", Usage: "keep the network to its members"},
			&cli.BoolFlag{Name: "sealed", Usage: "encrypt everything with a swarm key as well; there is no QUIC then"},
			&cli.StringSliceFlag{Name: "founder", Usage: "card `FILE` of another peer that the network begins with; may be given more than once"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of this peer (default: the machine's)"},
			schemeFlag("", "ed25519"),
			&cli.StringFlag{Name: "engine", Usage: "SQL engine `FILE`"},
			&cli.IntFlag{Name: "listen-port", Value: 4001, Usage: "libp2p `PORT`; 0 lets the system choose"},
			&cli.StringSliceFlag{Name: "listen-address", Usage: "IP `ADDRESS` to listen on; may be given more than once (default: all)"},
		},
		Action: action(createNetwork),
	}
}

func createNetwork(c *cli.Context, e *env) error {
	name, err := argument(c, "network name")
	if err != nil {
		return err
	}
	cfg := configs.Default()
	cfg.Network, cfg.DataDir = name, "."
	if err := takeScheme(c, &cfg); err != nil {
		return err
	}
	if p := c.Int("listen-port"); p < 0 || p > 65535 {
		return usageError(fmt.Errorf("--listen-port %d: want 0 to 65535", p))
	}
	cfg.P2P.ListenPort = uint16(c.Int("listen-port"))
	if list := c.StringSlice("listen-address"); len(list) > 0 {
		cfg.P2P.ListenAddresses = list
	}
	cfg.P2P.Private = c.Bool("private")
	if c.Bool("sealed") && !cfg.P2P.Private {
		return usageError(errors.New("bpi network create: --sealed goes with --private: whoever has the swarm key could enter"))
	}
	if c.Bool("sealed") {
		if err := noConfigYet(e); err != nil {
			return err
		}
		key, err := p2p.NewSwarmKey(rand.Reader)
		if err != nil {
			return err
		}
		path := filepath.Join(e.home, swarmKeyFile)
		if err := writeNew(path, key.Encode()); err != nil {
			return fmt.Errorf("write the swarm key: %w; it may be another network's: move it away, or choose another folder with --home", err)
		}
		cfg.P2P.SwarmKey, cfg.P2P.EnableQUIC = swarmKeyFile, false
		e.say("wrote the swarm key, %s, to %s; every member needs the file, by another way than the invitation", key.Fingerprint(), tilde(path))
	}
	if err := found(c, e, cfg); err != nil {
		return err
	}
	if cfg.P2P.Private {
		e.say("the network is private; when the peer runs, let others in with: bpi network invite")
	}
	return nil
}

// keepSwarmKey puts a copy of the key into the home, and what goes with it into the configuration.
func keepSwarmKey(e *env, cfg *configs.Config, key *p2p.SwarmKey) error {
	cfg.P2P.SwarmKey, cfg.P2P.EnableQUIC = swarmKeyFile, false
	if err := replaceText(filepath.Join(e.home, swarmKeyFile), strings.TrimSpace(string(key.Encode()))); err != nil {
		return fmt.Errorf("write the swarm key: %w", err)
	}
	return nil
}

// privateHome is the configuration and the genesis document of a home on a private network.
func privateHome(e *env) (configs.Config, *consensus.Genesis, error) {
	path := configPath(e.home)
	cfg, err := configs.Load(path)
	if err != nil {
		return cfg, nil, err
	}
	if !cfg.P2P.Private {
		return cfg, nil, fmt.Errorf("the network of %s is open: nobody needs an invitation; others join with: bpi init --bootstrap MULTIADDR", tilde(path))
	}
	g, _, err := configs.ReadGenesis(cfg.Genesis)
	return cfg, g, err
}

// inviterKey is this home's operator key, if the network lets it invite.
func inviterKey(cfg configs.Config, g *consensus.Genesis) (sign.PrivateKey, error) {
	path := filepath.Join(cfg.KeysDir(), keyfile.Operator.FileName())
	key, err := keyfile.Load(path, keyfile.Operator)
	if err != nil {
		return key, fmt.Errorf("%w; invitations are signed by the operator key of a founder, or by one that inviters in [p2p] names", err)
	}
	list, err := cfg.Inviters(g)
	if err != nil {
		return key, err
	}
	if !slices.Contains(list, key.Public()) {
		return key, fmt.Errorf("the operator key here, %s, may not invite: neither the genesis document nor inviters in [p2p] names it; ask a founder, or let every member add it to inviters", key.Public())
	}
	return key, nil
}

func inviteCommand() *cli.Command {
	return &cli.Command{
		Name: "invite", Usage: "let somebody into this peer's private network",
		Description: "The invitation is one word that survives chat and mail. Whoever has it may enter until it expires, and is put out\n" +
			"then, unless the chain names the peer by that time or it got a newer one. With --for, only that peer may.",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "expires", Value: 24 * time.Hour, Usage: "`TIME` until it ends, 1s to 8784h"},
			&cli.StringFlag{Name: "for", Usage: "peer `ID`, as 12D3…, of the one peer that may use it"},
			&cli.StringSliceFlag{Name: "bootstrap", Usage: "`MULTIADDR` to enter by; may be given more than once (default: this peer's addresses)"},
		},
		Action: action(networkInvite),
	}
}

func networkInvite(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	life := c.Duration("expires")
	if life < time.Second || life > invite.MaxLife {
		return usageError(fmt.Errorf("--expires %s: want 1s to %dh", life, invite.MaxLife/time.Hour))
	}
	cfg, g, err := privateHome(e)
	if err != nil {
		return err
	}
	key, err := inviterKey(cfg, g)
	if err != nil {
		return err
	}
	now := time.Now()
	body := invite.Body{
		Network: g.DisplayName(), Chain: g.ChainID(), Bootstrap: c.StringSlice("bootstrap"), Sealed: cfg.P2P.SwarmKey != "",
		IssuedMs: uint64(now.UnixMilli()), ExpiresMs: uint64(now.Add(life).UnixMilli()),
	}
	if s := c.String("for"); s != "" {
		if body.Peer, err = p2p.ParsePeer(s); err != nil {
			return usageError(fmt.Errorf("--for: %w", err))
		}
	}
	if len(body.Bootstrap) == 0 {
		if body.Bootstrap, err = entrances(c, e, cfg, g); err != nil {
			return err
		}
	}
	t, err := invite.New(body, key, rand.Reader)
	if err != nil {
		return err
	}
	i := &t.Invitation
	id := i.Body.ID.String()
	record := signedInvitation{ID: id, Network: i.Body.Network, IssuedMs: i.Body.IssuedMs, ExpiresMs: i.Body.ExpiresMs}
	if !i.Body.Peer.IsZero() {
		record.Peer = p2p.PeerID(i.Body.Peer).String()
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(e.home, invitationsDir, id+".json"), append(raw, '\n')); err != nil {
		return fmt.Errorf("keep a record of the invitation: %w", err)
	}
	if loopbackOnly(body.Bootstrap) {
		e.say("warning: the invitation names addresses of this machine alone; name one that others reach with --bootstrap")
	}
	e.say("invitation %s to %s, until %s", id, i.Body.Network, i.Expires().UTC().Format(time.RFC3339))
	if record.Peer == "" {
		e.say("whoever has it may enter: send it as you would send a password; take it back with: bpi network revoke %s", id)
	} else {
		e.say("for peer %s alone; take it back with: bpi network revoke %s", record.Peer, id)
	}
	if body.Sealed {
		e.say("the network is sealed: hand over %s as well, by another way", tilde(cfg.P2P.SwarmKey))
	}
	if e.json {
		return writeJSON(e.out, map[string]any{"invitation": t.Text(), "id": id, "network": i.Body.Network, "expires_ms": i.Body.ExpiresMs, "peer": record.Peer, "bootstrap": body.Bootstrap})
	}
	fmt.Fprintln(e.out, t.Text())
	return nil
}

// signedInvitation is the record of an invitation that was signed in this home.
type signedInvitation struct {
	ID        string `json:"id"`
	Network   string `json:"network"`
	Peer      string `json:"peer,omitempty"`
	IssuedMs  uint64 `json:"issued_ms"`
	ExpiresMs uint64 `json:"expires_ms"`
}

// entrances are the addresses by which others enter: those of the node that runs here, and the peers that it joined by.
func entrances(c *cli.Context, e *env, cfg configs.Config, g *consensus.Genesis) ([]string, error) {
	var far, near []string
	err := e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if s.Chain.ID != g.ChainID() {
			return fmt.Errorf("the node that answers is on %s, and this home on %s; name the addresses with --bootstrap", s.Chain.Name, g.DisplayName())
		}
		for _, a := range append(s.Addresses, cfg.P2P.Bootstrap...) {
			switch {
			case strings.Contains(a, "/quic") || strings.Contains(a, "/p2p-circuit"): // no door there
			case loopbackOnly([]string{a}):
				near = append(near, a)
			default:
				far = append(far, a)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("an invitation names addresses to enter by, and no node told its own: %w; start it with bpi node start, or name them with --bootstrap", err)
	}
	if len(far) == 0 {
		far = near
	}
	return far[:min(len(far), invite.MaxBootstrap)], nil
}

func loopbackOnly(addrs []string) bool {
	for _, a := range addrs {
		if !strings.HasPrefix(a, "/ip4/127.") && !strings.HasPrefix(a, "/ip6/::1/") {
			return false
		}
	}
	return true
}

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name: "revoke", Usage: "take an invitation back, and put out who entered by it", ArgsUsage: "ID",
		Description: "The node here tells the members that are connected; the others learn of it when they connect to any of these.",
		Action:      action(networkRevoke),
	}
}

func networkRevoke(c *cli.Context, e *env) error {
	ref, err := argument(c, "invitation id")
	if err != nil {
		return err
	}
	cfg, g, err := privateHome(e)
	if err != nil {
		return err
	}
	key, err := inviterKey(cfg, g)
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		id, until, err := invitationByRef(ctx, e, n, ref)
		if err != nil {
			return err
		}
		t, err := n.Revoke(ctx, invite.Revoke(g.ChainID(), id, until, key).Encode())
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, t)
		}
		e.say("revoked; %s had entered by it, and %s told now", count(t.PutOut, "member"), are(t.Told, "peer"))
		fmt.Fprintln(e.out, t.ID)
		return nil
	})
}

func are(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return count(n, thing) + " are"
}

func joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "give this peer a new invitation to its network", ArgsUsage: "INVITATION",
		Description: "It replaces the one that the peer entered by, before that one ends or after. A new peer is made with bpi init --join.",
		Action: action(func(c *cli.Context, e *env) error {
			arg, err := argument(c, "invitation")
			if err != nil {
				return err
			}
			t, err := readInvitation(arg)
			if err != nil {
				return err
			}
			cfg, g, err := privateHome(e)
			if err != nil {
				return err
			}
			if t.Invitation.Body.Chain != g.ChainID() {
				return fmt.Errorf("the invitation is to %s, and this peer is on %s; make another peer with: bpi init --join, in another folder", t.Invitation.Body.Network, g.DisplayName())
			}
			keys, err := makeKeys(e.home)
			if err != nil {
				return err
			}
			if _, err := t.Bind(keys.node); err != nil {
				return err
			}
			if cfg.P2P.Invitation == "" {
				return fmt.Errorf("this peer's configuration names no invitation; add invitation = %q to [p2p] in %s, and give the command again", invitationFile, tilde(configPath(e.home)))
			}
			if err := replaceText(cfg.P2P.Invitation, t.Text()); err != nil {
				return fmt.Errorf("write the invitation: %w", err)
			}
			e.say("wrote %s, good until %s; restart the node for it to count", tilde(cfg.P2P.Invitation), t.Invitation.Expires().UTC().Format(time.RFC3339))
			return nil
		}),
	}
}

// replaceText puts a line in place of a file at once.
func replaceText(path, line string) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(next, []byte(line+"\n")); err != nil {
		return err
	}
	return os.Rename(next, path)
}
