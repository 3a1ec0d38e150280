package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/bench/measure"
)

// node is one peer's process, and where it is spoken to.
type node struct {
	proc   *measure.Process // nil of a devnet's, which the devnet ends
	dir    string
	socket string
	client *api.Client
}

// home makes an empty folder for a peer or a network. A unix socket's path holds 107 bytes, of which a devnet needs 25
// below its folder.
func (b *bench) home(name string) (string, error) {
	b.homes++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s%d", name, b.homes))
	if len(dir) > 80 {
		return "", fmt.Errorf("%s: too long for the unix sockets of peers below it; give a shorter -dir", dir)
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// settings are what every peer is given besides its configuration: a port of the kernel's choice wherever it listens.
func (b *bench) settings(home string) []string {
	return []string{"BPI_HOME=" + home, "BPI_ENGINE=" + b.engine, "BPI_GATEWAY_LISTEN=127.0.0.1:0", "BPI_API_LISTEN=127.0.0.1:0"}
}

// bpiCommand runs a command of bpi to its end and gives what it printed.
func (b *bench) bpiCommand(ctx context.Context, home string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.bpi, args...)
	cmd.Env = append(os.Environ(), b.settings(home)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("bpi %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// network is a devnet that runs as one process with its peers below it.
type network struct {
	proc  *measure.Process
	home  string
	nodes []*node
}

// devnet starts peers that all validate and execute, and waits until all do their work.
func (b *bench) devnet(ctx context.Context, peers int) (_ *network, err error) {
	home, err := b.home("net")
	if err != nil {
		return nil, err
	}
	proc, err := measure.Start(home+".log", []string{b.bpi, "devnet", "up", "--nodes", fmt.Sprint(peers), "--gateway-port", "0"}, b.settings(home)...)
	if err != nil {
		return nil, fmt.Errorf("%w; `make bench-p2p` builds the programs", err)
	}
	n := &network{proc: proc, home: home}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	err = poll(ctx, time.Minute, 20*time.Millisecond, "a network that is ready", func() (bool, error) {
		if err := proc.Ended(); err != nil {
			return false, err
		}
		raw, err := os.ReadFile(home + ".log")
		return bytes.Contains(raw, []byte("is ready")), err
	})
	if err != nil {
		return nil, err
	}
	text, err := b.bpiCommand(ctx, home, "--json", "devnet", "status")
	if err != nil {
		return nil, err
	}
	var s struct {
		Nodes []struct {
			Dir    string `json:"dir"`
			Socket string `json:"socket"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("devnet status: %w", err)
	}
	for _, x := range s.Nodes {
		n.nodes = append(n.nodes, &node{dir: x.Dir, socket: x.Socket, client: api.NewUnixClient(x.Socket)})
	}
	if len(n.nodes) != peers {
		return nil, fmt.Errorf("devnet status names %d peers, want %d", len(n.nodes), peers)
	}
	return n, nil
}

func (n *network) stop() {
	for _, x := range n.nodes {
		x.client.Close()
	}
	n.proc.Interrupt()
	n.proc.Stop()
	os.RemoveAll(n.home)
}

// startNode runs a peer that init has made in a home. It waits for nothing.
func (b *bench) startNode(home string, env ...string) (*node, error) {
	proc, err := measure.Start(home+".log", []string{b.bpi, "node", "start"}, append(b.settings(home), env...)...)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(home, "api.sock")
	return &node{proc: proc, dir: home, socket: socket, client: api.NewUnixClient(socket)}, nil
}

func (n *node) stop() {
	n.client.Close()
	n.proc.Interrupt()
	n.proc.Stop()
	os.RemoveAll(n.dir)
}

// solitary starts a chain of one peer, and waits until it does its work.
func (b *bench) solitary(ctx context.Context, env ...string) (*node, error) {
	home, err := b.home("solo")
	if err != nil {
		return nil, err
	}
	if _, err := b.bpiCommand(ctx, home, "init", "--new-chain", "--network", "bench", "--engine", b.engine, "--listen-port", "0"); err != nil {
		return nil, err
	}
	n, err := b.startNode(home, env...)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, time.Minute, 20*time.Millisecond, "a peer that is ready", func() (bool, error) {
		s, err := n.client.Status(ctx)
		return err == nil && s.Ready, n.proc.Ended()
	})
	if err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// poll asks until the answer is yes or an error, or the time is up.
func poll(ctx context.Context, atMost, every time.Duration, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		yes, err := ok()
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no %s within %s", what, atMost), context.Cause(ctx))
		case <-tick.C:
		}
	}
}
