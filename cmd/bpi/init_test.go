package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/keyfile"
)

func TestInitBeginsAndJoinsAChain(t *testing.T) {
	engine := filepath.Join(t.TempDir(), "engine")
	if err := os.WriteFile(engine, []byte("an engine"), 0o755); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	code, id, errs := bpi(t, home, "init", "--new-chain", "--network", "t1", "--engine", engine)
	if code != 0 || !strings.HasPrefix(id, "12D3") {
		t.Fatalf("exit code %d, %q, %q", code, id, errs)
	}
	g, _, err := configs.ReadGenesis(filepath.Join(home, "genesis.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	var app enc.Genesis
	if err := canon.Unmarshal(g.App, &app); err != nil {
		t.Fatal(err)
	}
	if app.SQLEngine != digest.Of([]byte("an engine")) || len(g.Validators) != 1 || g.Name != "t1" || len(app.Nodes) != 1 {
		t.Errorf("genesis %+v %+v", g, app)
	}
	if err := app.Check(); err != nil {
		t.Error(err)
	}
	if cfg, err := configs.Load(filepath.Join(home, "config.toml")); err != nil || cfg.DataDir != home || cfg.EngineFiles[0] != engine {
		t.Errorf("config %+v, %v", cfg, err)
	}
	if code, _, errs := bpi(t, home, "init", "--new-chain", "--engine", engine); code != exitFailure || !strings.Contains(errs, "is there already") {
		t.Errorf("second init: exit code %d, %q", code, errs)
	}
	joiner := t.TempDir()
	code, _, errs = bpi(t, joiner, "init", "--genesis", filepath.Join(home, "genesis.cbor"), "--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/"+strings.TrimSpace(id))
	if code != 0 || !strings.Contains(errs, "joins t1-") {
		t.Errorf("join: exit code %d, %q", code, errs)
	}
	if cfg, err := configs.Load(filepath.Join(joiner, "config.toml")); err != nil || len(cfg.P2P.Bootstrap) != 1 || cfg.Network != "t1" {
		t.Errorf("joiner's config %+v, %v", cfg, err)
	}
	if code, _, _ := bpi(t, t.TempDir(), "init", "--genesis", engine); code != exitFailure {
		t.Errorf("a genesis that is none: exit code %d", code)
	}
}

func TestInitFoundsAChainOfSeveralPeers(t *testing.T) {
	for _, scheme := range consensus.Schemes() {
		t.Run(scheme.String(), func(t *testing.T) { testInitFoundsAChainOfSeveralPeers(t, scheme) })
	}
}

func testInitFoundsAChainOfSeveralPeers(t *testing.T, scheme consensus.Scheme) {
	engine := filepath.Join(t.TempDir(), "engine")
	if err := os.WriteFile(engine, []byte("an engine"), 0o755); err != nil {
		t.Fatal(err)
	}
	homes := []string{t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()}
	cards := []string{}
	for i, h := range homes[1:] {
		code, out, errs := bpi(t, h, "init", "--card", "--name", fmt.Sprintf("peer%d", i+2))
		if code != 0 {
			t.Fatalf("--card: exit code %d, %q", code, errs)
		}
		path := filepath.Join(t.TempDir(), "card.json")
		if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		cards = append(cards, path)
	}
	line := []string{"init", "--new-chain", "--network", "mesh", "--name", "peer1", "--engine", engine, "--listen-port", "0", "--signature-scheme", scheme.String()}
	code, _, errs := bpi(t, homes[0], append(line, "--founder", cards[0], "--founder", cards[0])...)
	if code != exitFailure || !strings.Contains(errs, "has the name or a key of") {
		t.Errorf("a founder twice: exit code %d, %q", code, errs)
	}
	if code, _, errs = bpi(t, homes[0], append(line, "--founder", engine)...); code != exitFailure || !strings.Contains(errs, "bpi init --card") {
		t.Errorf("a card that is none: exit code %d, %q", code, errs)
	}
	code, _, errs = bpi(t, homes[0], append(line, "--founder", oldCard(t, cards[0]))...)
	if scheme == consensus.BLS12381 && (code != exitFailure || !strings.Contains(errs, "has no bls key")) {
		t.Errorf("a card without a bls key: exit code %d, %q", code, errs)
	}
	if scheme == consensus.Ed25519 { // which does not ask for one
		if code != 0 {
			t.Fatalf("a card without a bls key: exit code %d, %q", code, errs)
		}
		for _, name := range []string{"genesis.cbor", "config.toml"} {
			if err := os.Remove(filepath.Join(homes[0], name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, _, errs = bpi(t, homes[0], append(line, "--founder", cards[0], "--founder", cards[1], "--founder", cards[2])...)
	if code != 0 || !strings.Contains(errs, "of 4 validators") {
		t.Fatalf("exit code %d, %q", code, errs)
	}
	genesis := filepath.Join(homes[0], "genesis.cbor")
	g, raw, err := configs.ReadGenesis(genesis)
	if err != nil || len(g.Validators) != 4 || g.Scheme != scheme {
		t.Fatalf("%+v, %v", g, err)
	}
	for i, h := range homes {
		if i > 0 {
			if code, _, errs := bpi(t, h, "init", "--genesis", genesis, "--listen-port", "0"); code != 0 {
				t.Fatalf("founder %d joins: exit code %d, %q", i+1, code, errs)
			}
		}
		key, err := keyfile.Load(filepath.Join(h, "keys", "validator.key"), keyfile.Validator)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(g.Validators, func(v consensus.Validator) bool { return v.Name == fmt.Sprintf("peer%d", i+1) })
		if at < 0 || g.Validators[at].Key != key.Public() {
			t.Errorf("the validator key of founder %d is not the chain's", i+1)
		} else if want := consensus.ProveBLS(key); scheme == consensus.BLS12381 && g.Validators[at].BLS != want {
			t.Errorf("the bls key of founder %d is not the chain's", i+1)
		}
		own, err := os.ReadFile(filepath.Join(h, "genesis.cbor"))
		cfg, cfgErr := configs.Load(filepath.Join(h, "config.toml"))
		if err != nil || cfgErr != nil || !bytes.Equal(own, raw) || cfg.Consensus.ValidatorCount != 4 || cfg.Consensus.SignatureScheme != scheme.String() || cfg.CreateChain {
			t.Errorf("founder %d: %v, %v, %+v", i+1, err, cfgErr, cfg.Consensus)
		}
	}
}

func TestDevnetTakesSettingsFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[consensus]\nblock_time_ms = 1234\nvalidator_count = 3\n")
	s, err := devnetSettings(path)
	if err != nil || s.Consensus.BlockTimeMs != 1234 || s.Consensus.ValidatorCount != 3 {
		t.Errorf("%+v, %v", s.Consensus, err)
	}
	for text, want := range map[string]string{
		"[consensus]\nblock_tim_ms = 1\n": "block_time_ms", "[cage]\nenable_syscall_filter = false\n": "cage.enable_syscall_filter",
		"[cage]\nallow_missing_walls = [\"sekkomp\"]\n": "those are: net namespace", "[p2p]\nenable_encryption = false\n": "there is no plaintext mode",
	} {
		write(text)
		code, _, errs := bpi(t, t.TempDir(), "devnet", "up", "--config", path)
		if code != exitFailure || !strings.Contains(errs, want) || !strings.Contains(errs, path) {
			t.Errorf("%q: exit code %d, %q", text, code, errs)
		}
	}
}

func TestDevnetFolderHoldsAWholeNetwork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "devnet")
	e := &env{home: t.TempDir(), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	s, err := makeDevnet(e, dir, 4, 0, engineFile{path: "/engine", digest: digest.Of([]byte("x")), bytes: 1}, configs.Devnet())
	if err != nil {
		t.Fatal(err)
	}
	ports := map[uint16]bool{}
	var first []byte
	for i, n := range s.Nodes {
		cfg, err := configs.Load(filepath.Join(n.Dir, "config.toml"))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.DataDir != n.Dir || len(cfg.P2P.Bootstrap) != 3 || ports[cfg.P2P.ListenPort] || (len(cfg.EngineFiles) == 1) != (i == 0) {
			t.Errorf("%s: %+v", n.Name, cfg)
		}
		ports[cfg.P2P.ListenPort] = true
		g, raw, err := configs.ReadGenesis(cfg.Genesis)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = raw
		}
		if !bytes.Equal(raw, first) || len(g.Validators) != 4 {
			t.Errorf("%s has another genesis", n.Name)
		}
		if _, err := keyfile.Load(filepath.Join(cfg.KeysDir(), "validator.key"), keyfile.Validator); err != nil {
			t.Error(err)
		}
	}
	if err := removeDevnet(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestDevnetRemovesOnlyItsOwnFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeDevnet(dir); err == nil {
		t.Error("a foreign folder was removed")
	}
	e := &env{home: t.TempDir(), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	if _, err := makeDevnet(e, dir, 1, 0, engineFile{path: "/e", digest: digest.Of(nil)}, configs.Devnet()); err == nil {
		t.Error("a foreign folder was used")
	}
	if _, err := os.Stat(filepath.Join(dir, "mine")); err != nil {
		t.Error(err)
	}
}

// oldCard is a card as it was before there were BLS keys.
func oldCard(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var c card
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	c.BLS = consensus.BLSKey{}
	if raw, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "card.json")
	if err := os.WriteFile(old, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return old
}

func TestSchemeGoesWithANewChain(t *testing.T) {
	for want, args := range map[string][]string{
		"want ed25519 or bls12-381":          {"init", "--new-chain", "--signature-scheme", "ed448"},
		"--signature-scheme goes with --new": {"init", "--genesis", "x", "--signature-scheme", "bls12-381"},
	} {
		if code, _, errs := bpi(t, t.TempDir(), args...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: exit code %d, %q", args, code, errs)
		}
	}
}
