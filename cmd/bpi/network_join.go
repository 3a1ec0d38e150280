package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// readInvitation reads an argument: the text itself, @FILE, or - for standard input.
func readInvitation(arg string) (*invite.Ticket, error) {
	text := arg
	if path, ok := strings.CutPrefix(arg, "@"); ok || arg == "-" {
		if arg == "-" {
			path = "-"
		}
		raw, err := readBounded(path, 16<<10)
		if err != nil {
			return nil, fmt.Errorf("invitation: %w", err)
		}
		text = string(raw)
	}
	t, err := invite.ParseText(text)
	if err != nil {
		return nil, usageError(err)
	}
	return t, nil
}

// joinPrivate makes a peer of a private network from an invitation: the keys, the genesis document, which a member gives
// to a peer that it has let in, and the configuration.
func joinPrivate(c *cli.Context, e *env, cfg configs.Config) error {
	t, err := readInvitation(c.String("join"))
	if err != nil {
		return err
	}
	body := &t.Invitation.Body
	if t.Invitation.Expired(time.Now()) {
		return fmt.Errorf("the invitation to %s expired on %s; ask whoever gave it to you for another", body.Network, t.Invitation.Expires().UTC().Format(time.RFC1123))
	}
	if err := noConfigYet(e); err != nil {
		return err
	}
	cfg.P2P.Private, cfg.P2P.Bootstrap, cfg.P2P.Invitation = true, body.Bootstrap, invitationFile
	var sealed *p2p.SwarmKey
	switch path := c.String("swarm-key"); {
	case path != "":
		if sealed, err = p2p.ReadSwarmKey(path); err != nil {
			return err
		}
		cfg.P2P.SwarmKey, cfg.P2P.EnableQUIC = swarmKeyFile, false
	case body.Sealed:
		return usageError(fmt.Errorf("%s is sealed: give the swarm key file with --swarm-key as well; whoever invited you has it", body.Network))
	}
	if err := cfg.Validate(); err != nil {
		return usageError(err)
	}
	keys, err := makeKeys(e.home)
	if err != nil {
		return err
	}
	admission, err := t.Bind(keys.node)
	if err != nil {
		return err
	}
	g, raw, err := privateGenesis(c.Context, e, c.String("genesis"), admission, sealed)
	if err != nil {
		return err
	}
	if g.ChainID() != body.Chain {
		return fmt.Errorf("the genesis document is of chain %s, and the invitation is to %s; do not trust whoever gave it to you", g.DisplayName(), body.Network)
	}
	if sealed != nil {
		if err := keepSwarmKey(e, &cfg, sealed); err != nil {
			return err
		}
	}
	if err := replaceText(filepath.Join(e.home, invitationFile), t.Text()); err != nil {
		return fmt.Errorf("write the invitation: %w", err)
	}
	e.say("the invitation is good until %s", t.Invitation.Expires().UTC().Format(time.RFC3339))
	return join(e, cfg, g, raw)
}

// privateGenesis reads the document from a file, or gets it from the first member that lets this peer in.
func privateGenesis(ctx context.Context, e *env, file string, a *invite.Admission, sealed *p2p.SwarmKey) (*consensus.Genesis, []byte, error) {
	if file != "" {
		return configs.ReadGenesis(file)
	}
	node, err := keyfile.Load(filepath.Join(e.home, "keys", keyfile.Node.FileName()), keyfile.Node)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, addr := range a.Invitation.Body.Bootstrap {
		raw, err := genesisOf(ctx, addr, visit{key: node, admission: a, sealed: sealed, chain: a.Invitation.Body})
		if errors.Is(err, p2p.ErrNotAdmitted) {
			return nil, nil, fmt.Errorf("%w; ask whoever invited you for another invitation", err)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g, err := configs.ParseGenesis(raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("genesis document of peer %s: %w", addr, err))
			continue
		}
		return g, raw, nil
	}
	return nil, nil, fmt.Errorf("no member that the invitation names let this peer in; is one running, and reached from here? %w", errors.Join(errs...))
}

func genesisOf(ctx context.Context, addr string, v visit) ([]byte, error) {
	n, err := dialMember(ctx, addr, v)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	raw, err := n.Genesis(ctx)
	return raw, n.explain(err)
}

// visit is what a command shows to be let into a private network.
type visit struct {
	key       sign.PrivateKey
	admission *invite.Admission // nil: the key itself is a member's
	visitor   bool
	sealed    *p2p.SwarmKey
	chain     invite.Body // Network and Chain
}

// visitOf makes a throw-away identity that members let in: by an invitation that this home's operator signs for it, or
// by the one that the home entered with.
func visitOf(cfg configs.Config, g *consensus.Genesis, addr string) (visit, error) {
	v := visit{visitor: true, chain: invite.Body{Network: g.DisplayName(), Chain: g.ChainID()}}
	var err error
	if v.key, err = sign.Generate(rand.Reader); err != nil {
		return v, err
	}
	if cfg.P2P.SwarmKey != "" {
		if v.sealed, err = p2p.ReadSwarmKey(cfg.P2P.SwarmKey); err != nil {
			return v, err
		}
	}
	if operator, err := inviterKey(cfg, g); err == nil {
		body := v.chain
		body.Bootstrap, body.Peer = []string{addr}, v.key.Public()
		body.IssuedMs = uint64(time.Now().UnixMilli())
		body.ExpiresMs = body.IssuedMs + uint64((24 * time.Hour).Milliseconds())
		t, err := invite.New(body, operator, rand.Reader)
		if err != nil {
			return v, err
		}
		v.admission, err = t.Bind(v.key.Public())
		return v, err
	}
	if cfg.P2P.Invitation == "" {
		return v, fmt.Errorf("network %s is private, and this home has neither an inviter's key nor an invitation; speak to the node here, without --peer", g.DisplayName())
	}
	t, err := configs.ReadInvitation(cfg.P2P.Invitation)
	if err != nil {
		return v, err
	}
	if !t.Invitation.Body.Peer.IsZero() {
		return v, fmt.Errorf("this home's invitation to %s is for its node alone; speak to the node here, without --peer", g.DisplayName())
	}
	v.admission, err = t.Bind(v.key.Public())
	return v, err
}

// dialMember reaches the API of a member of a private network.
func dialMember(ctx context.Context, addr string, v visit) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	target, err := peerOf(addr)
	if err != nil {
		return nil, err
	}
	return reachAPI(ctx, addr, p2p.Config{
		Key: v.key, Network: v.chain.Network, EnableEncryption: true, Client: true, Agent: "bpi/" + version,
		SwarmKey: v.sealed, NoQUIC: v.sealed != nil,
		Private: &p2p.Private{Chain: v.chain.Chain, Allowed: []sign.PublicKey{target}, Admission: v.admission, Visitor: v.visitor, NoMDNS: true},
	})
}

// peerOf is the key of the peer that a multiaddr ends in.
func peerOf(addr string) (sign.PublicKey, error) {
	i := strings.LastIndex(addr, "/p2p/")
	if i < 0 {
		return sign.PublicKey{}, usageError(fmt.Errorf("%q names no peer; want /ip4/HOST/tcp/PORT/p2p/ID", addr))
	}
	k, err := p2p.ParsePeer(addr[i+len("/p2p/"):])
	if err != nil {
		return k, usageError(err)
	}
	return k, nil
}

// invitationByRef finds an invitation by its id or the beginning of one, among those signed here and those that members
// entered by, and when it ends.
func invitationByRef(ctx context.Context, e *env, n *conn, ref string) (invite.ID, time.Time, error) {
	ends := map[string]uint64{}
	files, err := filepath.Glob(filepath.Join(e.home, invitationsDir, "*.json"))
	if err != nil {
		return invite.ID{}, time.Time{}, err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return invite.ID{}, time.Time{}, fmt.Errorf("invitations signed here: %w", err)
		}
		var r signedInvitation
		if json.Unmarshal(raw, &r) == nil {
			ends[r.ID] = r.ExpiresMs
		}
	}
	mesh, err := n.Network(ctx, false)
	if err != nil {
		return invite.ID{}, time.Time{}, err
	}
	for _, m := range mesh.Members {
		if m.Invitation != "" {
			ends[m.Invitation] = m.ExpiresMs
		}
	}
	var found []string
	for id := range ends {
		if strings.HasPrefix(id, ref) && len(ref) >= 4 {
			found = append(found, id)
		}
	}
	switch {
	case len(found) > 1:
		return invite.ID{}, time.Time{}, fmt.Errorf("%q begins %d invitations; give more of it", ref, len(found))
	case len(found) == 1:
		id, err := invite.ParseID(found[0])
		return id, time.UnixMilli(int64(ends[found[0]])), err
	}
	id, err := invite.ParseID(ref)
	if err != nil {
		return id, time.Time{}, fmt.Errorf("%q begins no invitation that was signed here or that a member entered by; give the whole id, as bpi network invite printed it", ref)
	}
	// It was signed elsewhere and nobody used it yet: remember it for as long as it could last.
	return id, time.Now().Add(invite.MaxLife), nil
}
