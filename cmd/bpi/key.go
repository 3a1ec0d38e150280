package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

func keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "make, show and back up keys: node, validator, operator, client",
		Subcommands: []*cli.Command{
			{
				Name: "new", Usage: "make a key in BPI_HOME/keys", ArgsUsage: "ROLE",
				Flags: []cli.Flag{&cli.StringFlag{Name: "out", Usage: "write to `FILE` instead"}},
				Action: action(func(c *cli.Context, e *env) error {
					role, path, err := roleAndPath(c, e, c.String("out"))
					if err != nil {
						return err
					}
					key, err := keyfile.Create(path, role, rand.Reader)
					if errors.Is(err, fs.ErrExist) {
						return fmt.Errorf("%s key %s is there already and is never overwritten; choose another file with --out", role, path)
					}
					if err != nil {
						return err
					}
					e.say("%s key written to %s; keep a copy with: bpi key backup %s FILE", role, path, role)
					return showKey(e, role, path, key.Public())
				}),
			},
			{
				Name: "show", Usage: "show the public half of a key, or of all", ArgsUsage: "[ROLE | FILE]",
				Action: action(func(c *cli.Context, e *env) error {
					if c.NArg() == 0 {
						return showKeys(e)
					}
					path, err := argument(c, "role or file")
					if err != nil {
						return err
					}
					if role, err := keyfile.ParseRole(path); err == nil {
						path = e.keyPath(role)
					}
					role, public, err := keyfile.Inspect(path)
					if errors.Is(err, fs.ErrNotExist) {
						return fmt.Errorf("%w; bpi key show lists the keys that are here, and bpi key new ROLE makes one", err)
					}
					if err != nil {
						return err
					}
					return showKey(e, role, path, public)
				}),
			},
			{
				Name: "backup", Usage: "copy a key to a new file, mode 0600", ArgsUsage: "ROLE FILE",
				Action: action(func(c *cli.Context, e *env) error {
					if c.NArg() != 2 {
						return usageError(errors.New("bpi key backup: want a role and a file; try: bpi key backup --help"))
					}
					role, err := keyfile.ParseRole(c.Args().Get(0))
					if err != nil {
						return usageError(err)
					}
					to := c.Args().Get(1)
					err = keyfile.Backup(e.keyPath(role), to)
					switch {
					case errors.Is(err, fs.ErrNotExist):
						return fmt.Errorf("%s key: %w; is there one? bpi key show looks, and bpi key new %s makes one", role, err, role)
					case errors.Is(err, fs.ErrExist):
						return fmt.Errorf("%s is there already and is not overwritten; choose another file", to)
					case err != nil:
						return err
					}
					e.say("%s key copied to %s; whoever reads it can sign as this %s", role, to, role)
					return nil
				}),
			},
		},
	}
}

func (e *env) keyPath(role keyfile.Role) string {
	return filepath.Join(e.home, "keys", role.FileName())
}

func roleAndPath(c *cli.Context, e *env, path string) (keyfile.Role, string, error) {
	name, err := argument(c, "role")
	if err != nil {
		return "", "", err
	}
	role, err := keyfile.ParseRole(name)
	if err != nil {
		return "", "", usageError(err)
	}
	if path == "" {
		path = e.keyPath(role)
	}
	return role, path, nil
}

// shownKey is a key as --json shows it.
type shownKey struct {
	Role   keyfile.Role   `json:"role"`
	Public sign.PublicKey `json:"public"`
	Peer   string         `json:"peer,omitempty"` // libp2p peer id of a node or operator key
	File   string         `json:"file"`
}

func shown(role keyfile.Role, path string, public sign.PublicKey) shownKey {
	k := shownKey{Role: role, Public: public, File: path}
	if role == keyfile.Node || role == keyfile.Operator {
		k.Peer = p2p.PeerID(public).String()
	}
	return k
}

func showKey(e *env, role keyfile.Role, path string, public sign.PublicKey) error {
	k := shown(role, path, public)
	if e.json {
		return writeJSON(e.out, k)
	}
	fmt.Fprintln(e.out, public)
	if k.Peer != "" {
		e.say("peer id %s", k.Peer)
	}
	return nil
}

func showKeys(e *env) error {
	list := []shownKey{}
	for _, role := range keyfile.Roles() {
		path := e.keyPath(role)
		have, public, err := keyfile.Inspect(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		list = append(list, shown(have, path, public))
	}
	if e.json {
		return writeJSON(e.out, list)
	}
	if len(list) == 0 {
		e.say("no keys in %s; make one with: bpi key new client", filepath.Join(e.home, "keys"))
		return nil
	}
	t := newTable(e.out, "ROLE", "PUBLIC KEY", "PEER ID", "FILE")
	for _, k := range list {
		t.row(k.Role, k.Public, orDash(k.Peer), k.File)
	}
	return t.flush()
}

// clientKey loads the key that signs this user's commands, and makes it on first use.
func (e *env) clientKey() (sign.PrivateKey, error) {
	path := e.keyPath(keyfile.Client)
	key, created, err := keyfile.LoadOrCreate(path, keyfile.Client, rand.Reader)
	if err != nil {
		return sign.PrivateKey{}, err
	}
	if created {
		e.say("made your client key %s: %s signs your jobs and owns your datasets", key.Public().Short(), tilde(path))
	}
	return key, nil
}

// tilde shortens a path below the user's home folder, for people.
func tilde(path string) string {
	if h, err := os.UserHomeDir(); err == nil && h != "/" && strings.HasPrefix(path, h+"/") {
		return "~" + strings.TrimPrefix(path, h)
	}
	return path
}
