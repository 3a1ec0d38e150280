package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/keyfile"
)

// testConfig is a node in a folder of its own: the only validator of testGenesis, on ports that the kernel chooses.
func testConfig(t testing.TB) configs.Config {
	t.Helper()
	home := t.TempDir()
	cfg := configs.Devnet()
	cfg.DataDir, cfg.Genesis = home, filepath.Join(home, "genesis")
	cfg.Network = "" // testGenesis names its own
	cfg.P2P.ListenPort, cfg.P2P.ListenAddresses, cfg.P2P.Bootstrap = 0, []string{"127.0.0.1"}, nil
	cfg.API.Listen, cfg.API.Socket = "127.0.0.1:0", filepath.Join(home, "api.sock")
	cfg.Gateway.Enabled, cfg.Gateway.Listen = true, "127.0.0.1:0"
	if err := os.MkdirAll(cfg.KeysDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, role := range []keyfile.Role{keyfile.Node, keyfile.Validator} {
		if err := keyfile.Save(filepath.Join(cfg.KeysDir(), role.FileName()), role, testKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(cfg.Genesis, canon.Must(testGenesis(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// ours is the stacks of goroutines that run this module's code, without the caller's.
func ours() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i > 0 && strings.Contains(stack, "github.com/metanode/metanode/") && !strings.Contains(stack, "testing.tRunner") {
			out = append(out, stack)
		}
	}
	return out
}

// noneLeft waits until no goroutine runs this module's code.
func noneLeft(t *testing.T) {
	t.Helper()
	late := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := ours()
		if len(left) == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("%d goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
		case <-tick.C:
		}
	}
}

// TestNodeStopsAndComesBack runs a whole node twice in one folder: it makes blocks, ends without a goroutine left, gives
// folder, ports and socket back, and goes on where it was.
func TestNodeStopsAndComesBack(t *testing.T) {
	cfg := testConfig(t)
	var before uint64
	for range 2 {
		n, err := New(cfg, Options{Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if h := uint64(n.ledger.Height()); h < before {
			t.Fatalf("the node came back at block %d; it was at %d", h, before)
		}
		if _, err := New(cfg, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Fatalf("a second node in the folder: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		from, late := uint64(n.ledger.Height()), time.After(30*time.Second)
		for uint64(n.ledger.Height()) < from+2 {
			_, changed := n.ledger.watch()
			if uint64(n.ledger.Height()) >= from+2 {
				break
			}
			select {
			case <-changed:
			case err := <-ended:
				t.Fatalf("Run ended: %v", err)
			case <-late:
				t.Fatalf("block %d after 30 s", n.ledger.Height())
			}
		}
		address := n.address("API")
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			buf := make([]byte, 1<<20)
			t.Fatalf("the node does not stop:\n%s", buf[:runtime.Stack(buf, true)])
		}
		before = uint64(n.ledger.Height())
		if err := n.Close(); err != nil {
			t.Errorf("closing what Run has closed: %v", err)
		}
		noneLeft(t)
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatalf("the API's port was not given back: %v", err)
		}
		l.Close()
	}
}

// TestNodeThatNeverRanIsClosedTwice gives everything back without Run.
func TestNodeThatNeverRanIsClosedTwice(t *testing.T) {
	cfg := testConfig(t)
	for range 2 { // the folder is free again
		n, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			if err := n.Close(); err != nil {
				t.Fatalf("close %d: %v", i+1, err)
			}
		}
	}
	noneLeft(t)
}

// TestNodeWithAServerThatFailsEnds ends Run, with the reason, and leaves nothing behind.
func TestNodeWithAServerThatFailsEnds(t *testing.T) {
	n, err := New(testConfig(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n.servers[0].listener.Close()
	if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), n.servers[0].what) {
		t.Errorf("Run: %v; want the name of the server that failed", err)
	}
	noneLeft(t)
}

// TestNewRefusesAndGivesBack names what is wrong, and holds no folder afterwards.
func TestNewRefusesAndGivesBack(t *testing.T) {
	for name, x := range map[string]struct {
		spoil func(*testing.T, *configs.Config)
		want  string
	}{
		"no genesis": {func(t *testing.T, c *configs.Config) { c.Genesis += ".none" }, "bpi init --new-chain"},
		"garbage": {func(t *testing.T, c *configs.Config) {
			if err := os.WriteFile(c.Genesis, []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "read genesis"},
		"too long": {func(t *testing.T, c *configs.Config) {
			if err := os.WriteFile(c.Genesis, make([]byte, configs.MaxGenesisBytes+1), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "over"},
		"another network": {func(t *testing.T, c *configs.Config) { c.Network = "elsewhere" }, "elsewhere"},
		"no node key": {func(t *testing.T, c *configs.Config) {
			if err := os.Remove(filepath.Join(c.KeysDir(), keyfile.Node.FileName())); err != nil {
				t.Fatal(err)
			}
		}, keyfile.Node.FileName()},
		"port taken": {func(t *testing.T, c *configs.Config) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			c.API.Listen = l.Addr().String()
		}, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			x.spoil(t, &cfg)
			if n, err := New(cfg, Options{}); err == nil {
				n.Close()
				t.Fatal("accepted")
			} else if !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v: want %q in it", err, x.want)
			}
			lock, err := lockFolder(cfg.ChainDir())
			if err != nil {
				t.Fatalf("the folder is still held: %v", err)
			}
			lock.release()
			noneLeft(t)
		})
	}
}
