package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/internal/keyfile"
)

func doctorFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "config", Usage: "configuration `FILE` to check (default: BPI_HOME/config.toml, or the defaults)"}}
}

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check this machine and the node on it: walls, ports, disk, clock, keys, peers",
		Description: "Exit code 1 if something keeps a node from running or executing here.",
		Flags:       doctorFlags(), Action: action(doctor),
	}
}

// finding is one line of the doctor's.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // "ok", "warning", "FAILED"
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

func doctor(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	cfg, list := doctorConfig(c, e)
	// A node that answers holds the ports, and knows its own walls, clock and peers.
	status, reached := doctorNode(c.Context, e)
	list = append(list, checkWalls(cfg, "")...)
	if reached {
		list = append(list, nodeFindings(status)...)
	} else {
		list = append(list, finding{"node", "warning", "no node answers here", "start one with: bpi node start"})
		list = append(list, checkPorts(cfg)...)
	}
	list = append(list, checkDisk(cfg), checkClock())
	list = append(list, checkKeys(cfg)...)

	return tell(e, list)
}

// tell writes the findings; the exit code says whether one of them failed.
func tell(e *env, list []finding) error {
	failed := false
	for _, f := range list {
		failed = failed || f.Status == "FAILED"
	}
	if e.json {
		if err := writeJSON(e.out, list); err != nil {
			return err
		}
	} else {
		t := newTable(e.out)
		for _, f := range list {
			detail := f.Detail
			if f.Next != "" && f.Status != "ok" {
				detail += "; " + f.Next
			}
			t.row(f.Check, f.Status, detail)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if failed {
		return quietly(exitFailure)
	}
	return nil
}

func doctorConfig(c *cli.Context, e *env) (configs.Config, []finding) {
	path := c.String("config")
	if path == "" {
		path = configPath(e.home)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			cfg := configs.Default()
			cfg.DataDir = e.home
			if err := cfg.Resolve(e.home); err != nil {
				return cfg, []finding{{"configuration", "FAILED", err.Error(), ""}}
			}
			return cfg, []finding{{"configuration", "ok", "none in " + tilde(e.home) + ", checking the defaults", ""}}
		}
	}
	cfg, err := configs.Load(path)
	if err != nil {
		d := configs.Default()
		d.DataDir = e.home
		return d, []finding{{"configuration", "FAILED", err.Error(), ""}}
	}
	list := []finding{{"configuration", "ok", tilde(path), ""}}
	for _, w := range cfg.Warnings() {
		list = append(list, finding{"configuration", "warning", w, ""})
	}
	return cfg, list
}

func doctorNode(ctx context.Context, e *env) (api.Status, bool) {
	n, err := e.connect(ctx)
	if err != nil {
		return api.Status{}, false
	}
	defer n.Close()
	ctx, cancel := e.bounded(ctx, 5*time.Second)
	defer cancel()
	s, err := n.Status(ctx)
	return s, err == nil
}

func nodeFindings(s api.Status) []finding {
	state := finding{"node", "ok", fmt.Sprintf("%s, height %d", s.Chain.Name, s.Head.Height), ""}
	if !s.Ready {
		state.Status, state.Detail = "FAILED", fmt.Sprintf("not ready: %v", s.NotReady)
	}
	list := []finding{state}
	peers := finding{"peers", "ok", fmt.Sprintf("%d connected", s.Peers), ""}
	if s.Peers == 0 {
		peers = finding{"peers", "warning", "none connected", "name one under bootstrap in the configuration, unless this chain has one validator"}
	}
	list = append(list, peers)
	drift := finding{"clock against peers", "ok", fmt.Sprintf("%+d ms", s.DriftMs), ""}
	if s.DriftMs > 250 || s.DriftMs < -250 {
		drift.Status, drift.Next = "FAILED", "synchronise the clock: validators refuse blocks more than 500 ms ahead of theirs"
	}
	list = append(list, drift)
	for _, w := range s.Warnings {
		list = append(list, finding{"node", "warning", w, ""})
	}
	return list
}

func checkPorts(cfg configs.Config) []finding {
	type port struct{ key, network, addr string }
	var ports []port
	for _, a := range cfg.P2P.ListenAddresses {
		hp := net.JoinHostPort(a, strconv.Itoa(int(cfg.P2P.ListenPort)))
		ports = append(ports, port{"p2p.listen_port", "tcp", hp})
		if cfg.P2P.EnableQUIC {
			ports = append(ports, port{"p2p.listen_port", "udp", hp})
		}
		if cfg.P2P.WebSocket {
			ports = append(ports, port{"p2p.websocket_port", "tcp", net.JoinHostPort(a, strconv.Itoa(int(cfg.P2P.WebSocketPort)))})
		}
	}
	if cfg.API.Listen != "" {
		ports = append(ports, port{"api.listen", "tcp", cfg.API.Listen})
	}
	if cfg.Gateway.Enabled {
		ports = append(ports, port{"gateway.listen", "tcp", cfg.Gateway.Listen})
	}
	var list []finding
	for _, p := range ports {
		var err error
		if p.network == "udp" {
			var l net.PacketConn
			if l, err = net.ListenPacket("udp", p.addr); err == nil {
				l.Close()
			}
		} else {
			var l net.Listener
			if l, err = net.Listen("tcp", p.addr); err == nil {
				l.Close()
			}
		}
		f := finding{"port " + p.addr + "/" + p.network, "ok", "free", ""}
		if err != nil {
			f.Status, f.Detail, f.Next = "FAILED", err.Error(), "choose another under "+p.key
			if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
				f.Status, f.Next = "warning", "this machine has no such address; leave it out of "+p.key
			}
		}
		list = append(list, f)
	}
	return list
}

// minFreeBytes is what a node should find free: an engine, a dataset and some weeks of chain.
const minFreeBytes = 2 << 30

func checkDisk(cfg configs.Config) finding {
	dir := cfg.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{"disk", "FAILED", fmt.Sprintf("%s: %v", dir, err), "name another data_dir"}
	}
	free := st.Bavail * uint64(st.Bsize)
	f := finding{"disk", "ok", fmt.Sprintf("%s free at %s", size(free), tilde(dir)), ""}
	if free < minFreeBytes {
		f.Status, f.Next = "FAILED", "make room, or name another data_dir"
	}
	if unix.Access(dir, unix.W_OK) != nil {
		f.Status, f.Detail, f.Next = "FAILED", tilde(dir)+" is not writable", "name another data_dir"
	}
	return f
}

func checkClock() finding {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return finding{"clock", "warning", fmt.Sprintf("the kernel does not say whether it is synchronised: %v", err), ""}
	}
	if state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0 {
		return finding{"clock", "warning", "the kernel says that it is not synchronised", "run a time service, such as chrony: validators refuse blocks more than 500 ms ahead of theirs"}
	}
	return finding{"clock", "ok", fmt.Sprintf("synchronised, estimated error %d µs", tx.Esterror), ""}
}

func checkKeys(cfg configs.Config) []finding {
	var list []finding
	for _, role := range []keyfile.Role{keyfile.Node, keyfile.Validator, keyfile.Operator, keyfile.Client} {
		path := filepath.Join(cfg.KeysDir(), role.FileName())
		_, err := keyfile.Load(path, role)
		switch {
		case err == nil:
			list = append(list, finding{string(role) + " key", "ok", tilde(path), ""})
		case !errors.Is(err, fs.ErrNotExist):
			list = append(list, finding{string(role) + " key", "FAILED", err.Error(), ""})
		}
	}
	return list
}
