package configs

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
)

var update = flag.Bool("update", false, "rewrite the shipped files")

func TestDefaultsAreValid(t *testing.T) {
	for name, c := range map[string]Config{"default": Default(), "devnet": Devnet()} {
		if err := c.Resolve(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w := c.Warnings(); len(w) > 0 {
			t.Errorf("%s warns: %v", name, w)
		}
	}
}

func TestTextParsesBack(t *testing.T) {
	c := Default()
	c.Network = "a-1"
	c.DataDir = "with \"quotes\" \\ and\ttab"
	c.P2P.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1/p2p/x", "b"}
	c.Storage.ResultTTL = 90*time.Minute + 5*time.Second
	got, err := Parse(Text(c))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
}

func TestShippedDevnetFileIsTheProfile(t *testing.T) {
	want := Text(Devnet())
	if *update {
		if err := os.WriteFile("devnet.toml", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("devnet.toml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("devnet.toml differs from Devnet(); run: go test ./configs -update")
	}
	t.Setenv("BPI_HOME", t.TempDir())
	if _, err := Load("devnet.toml"); err != nil {
		t.Error(err)
	}
}

func TestUnknownKeyIsNamedWithLineAndNeighbour(t *testing.T) {
	tests := []struct{ text, want string }{
		{"role = \"auto\"\n\n[p2p]\nlisten_prot = 1\n", `line 4: unknown key "p2p.listen_prot"; did you mean "p2p.listen_port"?`},
		{"block_time_ms = 100\n", `line 1: unknown key "block_time_ms"; did you mean "consensus.block_time_ms"?`},
		{"[cages]\n", `line 1: unknown key "cages"`},
		{"[log]\nlevel = \"info\"\nlevels = 3\n", `line 3: unknown key "log.levels"; did you mean "log.level"?`},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestSyntaxErrorNamesTheLine(t *testing.T) {
	for _, text := range []string{"role = \"auto\"\n[p2p x]\n", "\nrole = 3 4\n"} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: error %v, want one that names line 2", text, err)
		}
	}
}

func TestValueOfTheWrongKindNamesKeyAndLine(t *testing.T) {
	for _, text := range []string{"\n[p2p]\nlisten_port = 99999\n", "\n[p2p]\nlisten_port = \"4001\"\n"} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), "line 3: p2p.listen_port: ") {
			t.Errorf("%q: error %v, want one that names line 3 and the key", text, err)
		}
	}
}

func TestEnvironmentIsNamedForItsOwnMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := Write(path, Default()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BPI_P2P_MAX_PEERS", "1")
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), `environment BPI_P2P_MAX_PEERS="1": p2p.max_peers: `) {
		t.Errorf("error %v", err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	tests := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Role = "boss" }, "role:"},
		{func(c *Config) { c.Network = "Big" }, "network:"},
		{func(c *Config) { c.P2P.EnableEncryption = false }, "p2p.enable_encryption: false: there is no plaintext mode"},
		{func(c *Config) { c.P2P.MaxPeers = 0 }, "p2p.max_peers:"},
		{func(c *Config) { c.P2P.ListenAddresses = []string{"nowhere"} }, "p2p.listen_addresses:"},
		{func(c *Config) { c.P2P.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} }, "does not end in /p2p/ID"},
		{func(c *Config) { c.P2P.SharedNetworks = []string{"10"} }, "p2p.shared_networks:"},
		{func(c *Config) { c.P2P.SwarmKey = "swarm.key" }, "p2p.swarm_key: a sealed network has no QUIC"},
		{func(c *Config) { c.P2P.AllowedPeers = []string{"12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"} }, "p2p.allowed_peers: set, and the network is open"},
		{func(c *Config) { c.P2P.Invitation = "i" }, "p2p.invitation: set, and the network is open"},
		{func(c *Config) { c.P2P.Private, c.P2P.AllowedPeers = true, []string{"x"} }, "p2p.allowed_peers: peer id"},
		{func(c *Config) { c.P2P.Private, c.P2P.Inviters = true, []string{"x"} }, "p2p.inviters:"},
		{func(c *Config) { c.P2P.WebSocket, c.P2P.WebSocketPort = true, c.P2P.ListenPort }, "p2p.websocket_port:"},
		{func(c *Config) { c.Consensus.BlockTimeMs = 1 }, "consensus.block_time_ms:"},
		{func(c *Config) { c.Consensus.MaxTransactionsPerBlock = 0 }, "consensus.max_transactions_per_block:"},
		{func(c *Config) { c.Consensus.SignatureScheme = "ed448" }, "consensus.signature_scheme: signature scheme \"ed448\": want ed25519 or bls12-381"},
		{func(c *Config) { c.Consensus.ValidatorCount = 1000 }, "consensus.validator_count:"},
		{func(c *Config) { c.Cage.EnableSyscallFilter = false }, "cage.enable_syscall_filter: false"},
		{func(c *Config) { c.Cage.EnableSyscallFilter, c.Cage.AllowMissingWalls = false, []string{"seccomp"} }, "cage.enable_syscall_filter: false"},
		{func(c *Config) { c.Cage.EnableWitnessRecording = false }, "cage.enable_witness_recording: false"},
		{func(c *Config) { c.Cage.AllowMissingWalls = []string{"sekkomp"} }, "those are: net namespace, ipc namespace, uts namespace, seccomp"},
		{func(c *Config) { c.Cage.AllowMissingWalls = []string{"user namespace"} }, "cage.allow_missing_walls: \"user namespace\""},
		{func(c *Config) { c.CreateChain, c.Consensus.ValidatorCount = true, 4 }, "bpi init --new-chain --founder"},
		{func(c *Config) { c.Cage.RNGSeed = "42" }, "cage.rng_seed:"},
		{func(c *Config) { c.Cage.Slots = -1 }, "cage.slots:"},
		{func(c *Config) { c.Cage.MemoryBytes = 1 }, "cage.memory_bytes:"},
		{func(c *Config) { c.API.Listen, c.API.Socket = "", "" }, "api:"},
		{func(c *Config) { c.API.Listen = "3000" }, "api.listen:"},
		{func(c *Config) { c.API.Listen = "127.0.0.1:70000" }, "api.listen:"},
		{func(c *Config) { c.API.Socket = "/" + strings.Repeat("x", 200) }, "api.socket:"},
		{func(c *Config) { c.Gateway.Enabled, c.Gateway.Listen = true, "x" }, "gateway.listen:"},
		{func(c *Config) { c.Log.Level = "loud" }, "log.level:"},
		{func(c *Config) { c.Log.MaxFiles = 0 }, "log.max_files:"},
		{func(c *Config) { c.Storage.BlobQuotaBytes = 1 }, "storage.blob_quota_bytes:"},
		{func(c *Config) { c.Storage.SnapshotInterval = 15 }, "storage.snapshot_interval:"},
		{func(c *Config) { c.Storage.Snapshots = 0 }, "storage.snapshots:"},
		{func(c *Config) { c.Storage.RetainBlocks = 63 }, "storage.retain_blocks: 63"},
		{func(c *Config) { c.Storage.RetainBlocks, c.Storage.SnapshotInterval = 100, 0 }, "storage.retain_blocks: 100, with snapshot_interval 0"},
		{func(c *Config) { c.Storage.ResultTTL = 0 }, "storage.result_ttl:"},
	}
	for _, tt := range tests {
		c := Default()
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
}

func TestAMissingWallThatIsNamedWarns(t *testing.T) {
	c := Default()
	c.Cage.AllowMissingWalls = []string{"seccomp"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "seccomp") {
		t.Errorf("warnings %q", w)
	}
}

func TestDifferencesFromTheChainAreTold(t *testing.T) {
	app := enc.Genesis{Params: enc.Params{ResultTTLMs: 1000}}
	g := &consensus.Genesis{BlockTimeMs: 1000, MaxTxsPerBlock: 100, Validators: make([]consensus.Validator, 4), App: canon.Must(&app)}
	c := Default()
	if d := c.Differences(g); len(d) != 0 {
		t.Errorf("defaults are told as differences: %q", d)
	}
	c.Consensus = Consensus{BlockTimeMs: 250, MaxTransactionsPerBlock: 100, SignatureScheme: "bls12-381", ValidatorCount: 3}
	c.Storage.ResultTTL = time.Hour
	d := strings.Join(c.Differences(g), "\n")
	if !strings.Contains(d, "block_time_ms is 250") || !strings.Contains(d, "1000 on this chain") || !strings.Contains(d, "validator_count is 3") || !strings.Contains(d, "result_ttl, in milliseconds, is 3600000") || strings.Contains(d, "max_transactions") ||
		!strings.Contains(d, "signature_scheme is bls12-381 in the configuration and ed25519 on this chain") {
		t.Errorf("differences: %s", d)
	}
}

func TestReadGenesisSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	garbage, large := filepath.Join(dir, "garbage"), filepath.Join(dir, "large")
	if err := os.WriteFile(garbage, []byte("not CBOR"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, make([]byte, MaxGenesisBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{filepath.Join(dir, "none"): "bpi init --new-chain", garbage: "get the file again", large: "over 4194304 bytes"} {
		if _, _, err := ReadGenesis(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, _, err := ReadGenesis(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file is %v", err)
	}
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, canon.Must(&consensus.Genesis{Version: 1, Name: "old", Validators: []consensus.Validator{}, App: []byte{}}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := ReadGenesis(old)
	var other *consensus.VersionError
	if !errors.As(err, &other) || other.Version != 1 || strings.Contains(err.Error(), "get the file again") || !strings.Contains(err.Error(), "use a bpi release of version 1") {
		t.Errorf("the genesis of another version: %v", err)
	}
}

func TestThreeValidatorsWarn(t *testing.T) {
	c := Default()
	c.Consensus.ValidatorCount = 3
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "tolerates no fault") {
		t.Errorf("warnings %q", w)
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("[log]\nlevel = \"warn\"\n[p2p]\nlisten_port = 9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BPI_HOME", t.TempDir())
	t.Setenv("BPI_LOG_LEVEL", "debug")
	t.Setenv("BPI_P2P_FAST_PATH", "false")
	t.Setenv("BPI_CAGE_ALLOW_MISSING_WALLS", "seccomp, net namespace")
	t.Setenv("BPI_STORAGE_RESULT_TTL", "2h")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "debug" || c.P2P.FastPath || c.P2P.ListenPort != 9 || c.Storage.ResultTTL != 2*time.Hour ||
		!reflect.DeepEqual(c.Cage.AllowMissingWalls, []string{"seccomp", "net namespace"}) {
		t.Errorf("got %+v", c)
	}
	t.Setenv("BPI_P2P_LISTEN_PORT", "70000")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "BPI_P2P_LISTEN_PORT") {
		t.Errorf("error %v, want one that names the variable", err)
	}
}

func TestPathsAreResolved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(path, []byte("data_dir = \"n1\"\nengine_files = [\"e\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "n1"), filepath.Join(dir, "n1/genesis.cbor"), filepath.Join(dir, "n1/api.sock"), filepath.Join(dir, "e")}
	if got := []string{c.DataDir, c.Genesis, c.API.Socket, c.EngineFiles[0]}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteDoesNotOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "c.toml")
	if err := Write(path, Default()); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, Devnet()); !errors.Is(err, os.ErrExist) {
		t.Errorf("second write: %v, want os.ErrExist", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Text(Default()))
	f.Add(Text(Devnet()))
	f.Add([]byte("[p2p]\nlisten_prot = 1"))
	f.Add([]byte("[[p2p]]\n"))
	f.Add([]byte("role = 1979-05-27T07:32:00Z"))
	f.Add([]byte("storage = { result_ttl = \"1h\" }"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err != nil {
			return
		}
		_ = c.Warnings()
		if err := c.Validate(); err != nil {
			return
		}
		again, err := Parse(Text(c))
		if err != nil {
			t.Fatalf("written form is refused: %v", err)
		}
		if !bytes.Equal(Text(again), Text(c)) {
			t.Fatalf("written form changes:\n%s\n%s", Text(c), Text(again))
		}
	})
}
