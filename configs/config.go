// Package configs is the configuration of a node: its schema, defaults, loader and writer. The file is TOML; a key that
// is not in the schema is refused, and every key can be overridden by an environment variable.
//
// Precedence is flag, then environment, then file, then default; flags are the command line's business.
package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// The roles of a node.
const (
	RoleAuto      = "auto"      // validates if its validator key is in the set, executes if its node key is admitted
	RoleValidator = "validator" // validates and never executes
	RoleExecutor  = "executor"  // executes and never validates
	RoleFollower  = "follower"  // only follows the chain
)

// Config is everything a node is told. The doc tags become the comments of a written file. Zero numbers whose doc says
// so mean "chosen by the node". Paths are absolute after Load.
type Config struct {
	Network     string   `toml:"network" doc:"Name of the network to take part in. A chain of another name is refused; empty accepts the genesis file's."`
	DataDir     string   `toml:"data_dir" doc:"Folder of everything the node keeps. Relative to this file; empty is BPI_HOME, or ~/.bpi."`
	Role        string   `toml:"role" doc:"auto, validator, executor or follower. auto does whatever the node's keys are admitted for."`
	Genesis     string   `toml:"genesis" doc:"The document that the chain begins with. Relative to data_dir."`
	CreateChain bool     `toml:"create_chain" doc:"Whether to begin a chain of one validator, this node, when there is no genesis file yet."`
	Trust       string   `toml:"trust" doc:"A trust file of the chain, as bpi chain trust writes it. A snapshot of a block before its checkpoint, or of another one in its place, is not taken. Relative to data_dir; empty trusts genesis alone."`
	EngineFiles []string `toml:"engine_files" doc:"Engine programs that this node brings into the network. Others fetch them from their peers."`

	P2P       P2P       `toml:"p2p" doc:"BPCI, the mesh."`
	Consensus Consensus `toml:"consensus" doc:"BPI, the chain. These numbers go into the genesis document of a chain that is begun with this file. A chain that exists has its own: where they differ, the chain's hold, and the node says so when it starts."`
	Cage      Cage      `toml:"cage" doc:"DockLock, the cage. What decides a result stands in the job; nothing here changes what a job of others gives."`
	API       API       `toml:"api" doc:"The HTTP API, on TCP and on a unix socket. It is also reachable by libp2p, from any peer."`
	Gateway   Gateway   `toml:"gateway" doc:"The MetaAnalytics gateway: POST /submit for programs without keys. It signs for its callers."`
	Log       Log       `toml:"log" doc:"Structured logs, in data_dir/log."`
	Storage   Storage   `toml:"storage" doc:"Bytes kept for others."`
}

// P2P configures the mesh.
type P2P struct {
	ListenPort       uint16   `toml:"listen_port" doc:"TCP and UDP (QUIC) port on every interface of listen_addresses. 0 lets the system choose."`
	ListenAddresses  []string `toml:"listen_addresses" doc:"IP addresses to listen on."`
	MaxPeers         int      `toml:"max_peers" doc:"Connections above which the least useful are closed."`
	EnableEncryption bool     `toml:"enable_encryption" doc:"Must stay true: there is no plaintext mode. Every connection is encrypted and authenticated by Noise or TLS 1.3."`
	Bootstrap        []string `toml:"bootstrap" doc:"Multiaddrs of peers to join by, as /ip4/192.0.2.1/tcp/4001/p2p/12D3..."`
	FastPath         bool     `toml:"fast_path" doc:"Whether validators send each other votes and proposals on direct streams as well as by gossip."`
	EnableQUIC       bool     `toml:"enable_quic" doc:"Whether to speak QUIC besides TCP. It must be false on a sealed network (swarm_key)."`
	WebSocket        bool     `toml:"websocket" doc:"Whether to listen for WebSocket connections besides, on websocket_port: for browsers, and where only the web gets through. Others' WebSocket addresses are dialed in any case."`
	WebSocketPort    uint16   `toml:"websocket_port" doc:"TCP port for WebSocket connections. 0 lets the system choose."`
	Reachable        bool     `toml:"reachable" doc:"Whether to take it for granted that others reach listen_port, instead of finding out. For servers with a public address, and for networks of one site."`
	RelayService     bool     `toml:"relay_service" doc:"Whether peers that cannot be reached directly may be reached through this one. On a private network without limits; on an open one just long enough for a direct connection to be made."`
	MDNS             bool     `toml:"mdns" doc:"Whether a peer of a private network looks for other members on the local network, and is found there. It has no effect on an open network."`
	Private          bool     `toml:"private" doc:"Whether connections are kept to members only: those that the chain names, allowed_peers, bootstrap, and whoever comes with an invitation. All members need the same setting. See docs/network.md."`
	AllowedPeers     []string `toml:"allowed_peers" doc:"Peer ids, as 12D3..., that are members by this peer's word."`
	Inviters         []string `toml:"inviters" doc:"Keys, in hexadecimal digits, that may sign invitations and revocations besides the operators that the genesis document names."`
	Invitation       string   `toml:"invitation" doc:"File with this peer's own invitation, which it shows to members. Relative to data_dir; bpi init --join and bpi network join write it."`
	SwarmKey         string   `toml:"swarm_key" doc:"File with the network's swarm key, in kubo's format; it seals the network: who has not got it sees no handshake. Relative to data_dir; needs enable_quic = false."`
	ForeignPeers     []string `toml:"foreign_peers" doc:"Peers of no Metanode network, kubo for one, with which blobs are exchanged and nothing else, on a private network, too: peer ids, or multiaddrs that end in /p2p/ID, which are dialed. See docs/network.md."`
	MaxGuests        int      `toml:"max_guests" doc:"How many other peers of that kind an open network lets stay at once, each for as long as blocks go to it or come from it. A private network lets in none."`
	SharedNetworks   []string `toml:"shared_networks" doc:"Networks, as CIDR, that many peers live behind: they are exempt from the limit of connections per address."`
}

// Consensus configures the chain that is begun with this file.
type Consensus struct {
	BlockTimeMs             uint64 `toml:"block_time_ms" doc:"Milliseconds between blocks when there is no work; with work, blocks follow one another at once. 10 to 3600000."`
	MaxTransactionsPerBlock uint32 `toml:"max_transactions_per_block" doc:"Commands in a block, at most; what does not fit waits for the next. A block is also bounded in bytes."`
	SignatureScheme         string `toml:"signature_scheme" doc:"How validators sign votes: ed25519, or bls12-381, whose certificates stay small however many validators there are, at the price of more time to verify one among few."`
	ValidatorCount          int    `toml:"validator_count" doc:"Validators of the chain. A chain that bpi node start begins has 1; bpi init --new-chain writes the number of its founders, and bpi devnet up --config starts so many peers unless --nodes is given. f faults need 3f+1: three run and tolerate none, four tolerate one."`
}

// Cage configures execution.
type Cage struct {
	EnableSyscallFilter    bool     `toml:"enable_syscall_filter" doc:"The system call filter of the cage (seccomp). Must stay true: it belongs to the policy that receipts name. A machine without seccomp can name it in allow_missing_walls."`
	EnableWitnessRecording bool     `toml:"enable_witness_recording" doc:"Whether executions record a witness. Must stay true: the witness is part of what the peers agree on, and of every receipt."`
	RNGSeed                string   `toml:"rng_seed" doc:"Seed of the jobs that are submitted here, by the gateway or by bpi with this BPI_HOME, without a seed of their own: 64 hexadecimal digits. Empty derives one from the work, so that equal work has equal randomness. It is never applied to jobs that others submit: a job carries its seed."`
	AllowMissingWalls      []string `toml:"allow_missing_walls" doc:"Walls that this machine may lack and still execute: net namespace, ipc namespace, uts namespace, seccomp. A wall that the machine gives is always used. Each missing one makes a hostile job more dangerous."`
	Slots                  int      `toml:"slots" doc:"Executions at once. 0 is twice the number of cores, since a slot stays taken until the chain has its answer."`
	MemoryBytes            uint64   `toml:"memory_bytes" doc:"Memory for all executions together. 0 is half of the machine's."`
}

// API configures where the API is heard.
type API struct {
	Listen string   `toml:"listen" doc:"TCP address. Port 0 lets the system choose; empty is no TCP. The API has no passwords: keep it on loopback."`
	Socket string   `toml:"socket" doc:"Unix socket, for this user only. Relative to data_dir; empty is none."`
	Admins []string `toml:"admins" doc:"Peer ids that may administer this node over libp2p, as 12D3...; the unix socket always may, and nothing else ever."`
}

// Gateway configures MetaAnalytics.
type Gateway struct {
	Enabled bool   `toml:"enabled" doc:"Whether this node runs the gateway."`
	Listen  string `toml:"listen" doc:"TCP address of the gateway. Whoever reaches it submits jobs in this node's name."`
	Offer   bool   `toml:"offer" doc:"Whether the gateway is also offered to every peer of the network, as the service analytics."`
}

// Log configures the log.
type Log struct {
	Level     string `toml:"level" doc:"debug, info, warn or error."`
	MaxSizeMB int    `toml:"max_size_mb" doc:"Megabytes at which a log file is rotated."`
	MaxFiles  int    `toml:"max_files" doc:"Old log files that are kept."`
}

// Storage configures what is kept, and how long.
type Storage struct {
	BlobQuotaBytes uint64        `toml:"blob_quota_bytes" doc:"Disk for datasets, engines and results. What is pinned is never removed; unpinned blobs go, oldest first."`
	ResultTTL      time.Duration `toml:"result_ttl" doc:"How long results of jobs that ran here are kept. Goes into the genesis document of a chain begun with this file."`

	SnapshotInterval uint64 `toml:"snapshot_interval" doc:"Blocks from one snapshot of the state to the next: a new peer begins with one and executes only the blocks after it. Peers that have the same number here can give parts of the same snapshot. 0 makes none; else at least 16."`
	Snapshots        int    `toml:"snapshots" doc:"Snapshots that are kept: the newest ones. 1 to 16."`
	RetainBlocks     uint64 `toml:"retain_blocks" doc:"Blocks and events that are kept, counted from the head; those before are removed, but for the receipts' proofs. Those after the oldest snapshot stay in any case. 0 keeps all; else at least 64, and snapshot_interval must not be 0."`
}

// Default is the configuration of a node that was told nothing. Paths are still relative.
func Default() Config {
	return Config{
		Role:        RoleAuto,
		Genesis:     "genesis.cbor",
		EngineFiles: []string{},
		P2P: P2P{
			ListenPort: 4001, ListenAddresses: []string{"0.0.0.0", "::"}, MaxPeers: 50, EnableEncryption: true,
			Bootstrap: []string{}, FastPath: true, EnableQUIC: true, MDNS: true,
			AllowedPeers: []string{}, Inviters: []string{}, ForeignPeers: []string{}, MaxGuests: 8, SharedNetworks: []string{"127.0.0.0/8", "::1/128"},
		},
		Consensus: Consensus{BlockTimeMs: 5000, MaxTransactionsPerBlock: 5000, SignatureScheme: consensus.Ed25519.String(), ValidatorCount: 1},
		Cage:      Cage{EnableSyscallFilter: true, EnableWitnessRecording: true, AllowMissingWalls: []string{}},
		API:       API{Listen: "127.0.0.1:0", Socket: "api.sock", Admins: []string{}},
		Gateway:   Gateway{Listen: "127.0.0.1:3000"},
		Log:       Log{Level: "info", MaxSizeMB: 20, MaxFiles: 5},
		Storage:   Storage{BlobQuotaBytes: 20 << 30, ResultTTL: 7 * 24 * time.Hour, SnapshotInterval: 5000, Snapshots: 2},
	}
}

// Devnet is the profile of configs/devnet.toml: one node on loopback that begins its own chain.
func Devnet() Config {
	c := Default()
	c.Network = "devnet"
	c.CreateChain = true
	c.P2P.ListenPort = 0
	c.P2P.ListenAddresses = []string{"127.0.0.1"}
	c.Consensus.MaxTransactionsPerBlock = 100
	c.Gateway.Enabled, c.Gateway.Offer = true, true
	return c
}

// maxSocketPath is what sockaddr_un holds, less the final zero.
const maxSocketPath = 107

// Validate refuses values that a node cannot run with. The error names the key as it stands in the file.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}

	switch c.Role {
	case RoleAuto, RoleValidator, RoleExecutor, RoleFollower:
	default:
		bad("role", "%q: want auto, validator, executor or follower", c.Role)
	}
	if len(c.Network) > 32 || strings.Trim(c.Network, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		bad("network", "%q: want at most 32 of a-z, 0-9 and -", c.Network)
	}
	if c.Genesis == "" {
		bad("genesis", "empty: name the genesis file, or leave the key out for genesis.cbor in the data folder")
	}

	if !c.P2P.EnableEncryption {
		bad("p2p.enable_encryption", "false: there is no plaintext mode, every connection is encrypted and authenticated; remove the key or set it to true")
	}
	if c.P2P.MaxPeers < 4 || c.P2P.MaxPeers > 10000 {
		bad("p2p.max_peers", "%d: want 4 to 10000", c.P2P.MaxPeers)
	}
	if len(c.P2P.ListenAddresses) == 0 {
		bad("p2p.listen_addresses", "empty: a node must be reachable; 127.0.0.1 keeps it on this machine")
	}
	for _, a := range c.P2P.ListenAddresses {
		if _, err := netip.ParseAddr(a); err != nil {
			bad("p2p.listen_addresses", "%q: want an IP address", a)
		}
	}
	for _, a := range c.P2P.Bootstrap {
		m, err := multiaddr.NewMultiaddr(a)
		if err != nil {
			bad("p2p.bootstrap", "%q: %v", a, err)
			continue
		}
		if _, err := m.ValueForProtocol(multiaddr.P_P2P); err != nil {
			bad("p2p.bootstrap", "%q does not end in /p2p/ID: without the peer's id nobody could tell it from another", a)
		}
	}
	for _, n := range c.P2P.SharedNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			bad("p2p.shared_networks", "%q: want a network as 10.0.0.0/8", n)
		}
	}

	c.P2P.checkPrivate(bad)
	c.P2P.checkForeign(bad)

	if n := c.Consensus.BlockTimeMs; n < 10 || n > 3600_000 {
		bad("consensus.block_time_ms", "%d: want 10 to 3600000", n)
	}
	if n := c.Consensus.MaxTransactionsPerBlock; n < 1 || n > consensus.MaxBlockTxs {
		bad("consensus.max_transactions_per_block", "%d: want 1 to %d", n, consensus.MaxBlockTxs)
	}
	if _, err := consensus.ParseScheme(c.Consensus.SignatureScheme); err != nil {
		bad("consensus.signature_scheme", "%v", err)
	}
	if n := c.Consensus.ValidatorCount; n < 1 || n > consensus.MaxValidators {
		bad("consensus.validator_count", "%d: want 1 to %d", n, consensus.MaxValidators)
	} else if c.CreateChain && n != 1 {
		bad("consensus.validator_count", "%d, with create_chain: a chain that bpi node start begins has one validator, this node; set it to 1, or begin a chain of %d with bpi init --new-chain --founder", n, n)
	}

	for _, w := range c.Cage.AllowMissingWalls {
		if !slices.Contains(native.Optional(), w) {
			bad("cage.allow_missing_walls", "%.80q is no wall that may be missing; those are: %s", w, strings.Join(native.Optional(), ", "))
		}
	}
	if !c.Cage.EnableSyscallFilter {
		bad("cage.enable_syscall_filter", "false: the filter belongs to the policy that every receipt names, and is never left out where the machine has it; remove the key or set it to true (for a machine without seccomp: allow_missing_walls = [\"seccomp\"])")
	}
	if !c.Cage.EnableWitnessRecording {
		bad("cage.enable_witness_recording", "false: the peers that run a job agree on its witness, so that every execution records one; remove the key or set it to true")
	}
	if _, _, err := c.Cage.Seed(); err != nil {
		bad("cage.rng_seed", "%v", err)
	}
	if c.Cage.Slots < 0 || c.Cage.Slots > 1024 {
		bad("cage.slots", "%d: want 0 to 1024", c.Cage.Slots)
	}
	if m := c.Cage.MemoryBytes; m != 0 && m < 64<<20 {
		bad("cage.memory_bytes", "%d: want 0 or at least %d", m, 64<<20)
	}

	if c.API.Listen == "" && c.API.Socket == "" {
		bad("api", "neither listen nor socket is set: nobody on this machine could reach the node")
	}
	if c.API.Listen != "" {
		if err := checkHostPort(c.API.Listen); err != nil {
			bad("api.listen", "%v", err)
		}
	}
	if len(c.API.Socket) > maxSocketPath {
		bad("api.socket", "%q is %d bytes long, and the system takes at most %d: name a shorter path", c.API.Socket, len(c.API.Socket), maxSocketPath)
	}
	for _, a := range c.API.Admins {
		if id, err := peer.Decode(a); err != nil || id.String() != a {
			bad("api.admins", "%.80q is no peer id; bpi node status shows a node's, as 12D3...", a)
		}
	}
	if c.Gateway.Offer && !c.Gateway.Enabled {
		bad("gateway.offer", "there is no gateway to offer: set enabled = true in [gateway]")
	}
	if c.Gateway.Enabled {
		if err := checkHostPort(c.Gateway.Listen); err != nil {
			bad("gateway.listen", "%v", err)
		}
	}

	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		bad("log.level", "%q: want debug, info, warn or error", c.Log.Level)
	}
	if c.Log.MaxSizeMB < 1 || c.Log.MaxSizeMB > 10240 {
		bad("log.max_size_mb", "%d: want 1 to 10240", c.Log.MaxSizeMB)
	}
	if c.Log.MaxFiles < 1 || c.Log.MaxFiles > 1000 {
		bad("log.max_files", "%d: want 1 to 1000", c.Log.MaxFiles)
	}
	if c.Storage.BlobQuotaBytes < 256<<20 {
		bad("storage.blob_quota_bytes", "%d: want at least %d, an engine and a dataset must fit", c.Storage.BlobQuotaBytes, 256<<20)
	}
	if t := c.Storage.ResultTTL; t < time.Minute || t > 10*365*24*time.Hour {
		bad("storage.result_ttl", "%s: want 1m to ten years", t)
	}
	if n := c.Storage.SnapshotInterval; n != 0 && (n < 16 || n > 1<<32) {
		bad("storage.snapshot_interval", "%d: want 0, or 16 to %d", n, uint64(1)<<32)
	}
	if n := c.Storage.Snapshots; n < 1 || n > 16 {
		bad("storage.snapshots", "%d: want 1 to 16", n)
	}
	switch n := c.Storage.RetainBlocks; {
	case n != 0 && n < 64:
		bad("storage.retain_blocks", "%d: want 0, or at least 64", n)
	case n != 0 && c.Storage.SnapshotInterval == 0:
		bad("storage.retain_blocks", "%d, with snapshot_interval 0: nothing could be removed, since a new peer needs a snapshot or all blocks; set snapshot_interval, or retain_blocks to 0", n)
	}
	return errors.Join(errs...)
}

// Warnings are what runs and may still surprise, a sentence each.
func (c *Config) Warnings() []string {
	var w []string
	if n := c.Consensus.ValidatorCount; n == 2 || n == 3 {
		w = append(w, fmt.Sprintf("consensus.validator_count %d tolerates no fault: the chain stops when one validator does; 4 tolerate one", n))
	}
	if len(c.Cage.AllowMissingWalls) > 0 {
		w = append(w, fmt.Sprintf("cage.allow_missing_walls: jobs run here even without %s", strings.Join(c.Cage.AllowMissingWalls, ", ")))
	}
	if c.API.Listen != "" && !loopback(c.API.Listen) {
		w = append(w, fmt.Sprintf("api.listen %s is not on loopback: whoever reaches it can read this node's data", c.API.Listen))
	}
	if c.Gateway.Enabled && !loopback(c.Gateway.Listen) {
		w = append(w, fmt.Sprintf("gateway.listen %s is not on loopback: whoever reaches it submits jobs in this node's name", c.Gateway.Listen))
	}
	if c.Gateway.Offer && slices.ContainsFunc(c.P2P.ListenAddresses, func(a string) bool { return !loopback(net.JoinHostPort(a, "0")) }) {
		w = append(w, "gateway.offer: every peer of the network may submit jobs in this node's name")
	}
	return w
}

// Seed is rng_seed; the bool is false if none is set.
func (c *Cage) Seed() (digest.Digest, bool, error) {
	if c.RNGSeed == "" {
		return digest.Digest{}, false, nil
	}
	d, err := digest.Parse(c.RNGSeed)
	if err != nil || strings.HasPrefix(c.RNGSeed, "sha256:") {
		return digest.Digest{}, false, fmt.Errorf("%.80q: want 64 lower-case hexadecimal digits", c.RNGSeed)
	}
	return d, true, nil
}

// SlotCount is the number of executions at once, with 0 resolved.
func (c *Cage) SlotCount() int {
	if c.Slots == 0 {
		return 2 * runtime.NumCPU()
	}
	return c.Slots
}

// KeysDir is the folder of the node's keys.
func (c *Config) KeysDir() string { return filepath.Join(c.DataDir, "keys") }

// ChainDir is the folder of the databases.
func (c *Config) ChainDir() string { return filepath.Join(c.DataDir, "data") }

// LogDir is the folder of the logs.
func (c *Config) LogDir() string { return filepath.Join(c.DataDir, "log") }

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q: want host:port, as 127.0.0.1:0", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("%q: port %q: want 0 to 65535", s, port)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: host %q: want an IP address or localhost", s, host)
		}
	}
	return nil
}

func loopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
