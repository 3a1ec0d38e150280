package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/p2p"
)

// devnetSettings are what the peers of a devnet are configured with, ports, folders and roles aside: the profile, or a
// file's. They are checked, so that a mistake in the file is told before anything is made.
func devnetSettings(path string) (configs.Config, error) {
	if path == "" {
		return configs.Devnet(), nil
	}
	raw, err := readBounded(path, configs.MaxFileBytes)
	if err != nil {
		return configs.Config{}, fmt.Errorf("read configuration: %w; bpi init --print-config writes one", err)
	}
	c, err := configs.Parse(raw)
	if err == nil {
		c.CreateChain = false // of so many validators as there are peers
		err = c.Validate()
	}
	if err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// makeDevnet writes the folder of a new network: keys, genesis and configuration of each peer.
func makeDevnet(e *env, dir string, count, gatewayPort int, engine engineFile, settings configs.Config) (*devnetState, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, devnetMark)); err != nil {
			return nil, fmt.Errorf("%s is not empty and was not made by bpi devnet up; choose another folder with --dir", dir)
		}
		if err := removeDevnet(dir); err != nil { // what a devnet that never came up left behind
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the devnet's folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, devnetMark), nil, 0o600); err != nil {
		return nil, err
	}
	base := settings
	base.CreateChain = false
	base.Role = configs.RoleAuto
	base.DataDir = "."
	base.Consensus.ValidatorCount = count
	if base.Network == "" {
		base.Network = "devnet"
	}

	ports, err := freePorts(3 * count)
	if err != nil {
		return nil, err
	}
	s := &devnetState{}
	var founders []founder
	for i := range count {
		name := fmt.Sprintf("node%d", i+1)
		nodeDir := filepath.Join(dir, name)
		f := founder{name: name}
		for _, role := range []keyfile.Role{keyfile.Node, keyfile.Validator, keyfile.Operator} {
			key, err := keyfile.Create(filepath.Join(nodeDir, "keys", role.FileName()), role, rand.Reader)
			if err != nil {
				return nil, err
			}
			switch role {
			case keyfile.Node:
				f.node = key.Public()
			case keyfile.Validator:
				f.validator, f.bls = key.Public(), consensus.ProveBLS(key)
			case keyfile.Operator:
				f.operator = key.Public()
			}
		}
		founders = append(founders, f)
		n := devnetNode{
			Name: name, Dir: nodeDir, Socket: filepath.Join(nodeDir, "api.sock"),
			Address: fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s", ports[3*i], p2p.PeerID(f.node)),
			API:     hostPort(ports[3*i+1]), Gateway: hostPort(ports[3*i+2]),
		}
		if i == 0 && gatewayPort != 0 {
			n.Gateway = hostPort(gatewayPort)
		}
		s.Nodes = append(s.Nodes, n)
	}
	g, err := newGenesis(base.Network, base, founders, engine, time.Now())
	if err != nil {
		return nil, err
	}
	s.Network = chainName(g)
	raw := canon.Must(g)
	for i, n := range s.Nodes {
		cfg := base
		cfg.EngineFiles = []string{}
		if i == 0 {
			cfg.EngineFiles = []string{engine.path}
		}
		cfg.P2P.ListenPort = uint16(ports[3*i])
		cfg.P2P.ListenAddresses = []string{"127.0.0.1"}
		cfg.P2P.Bootstrap = []string{}
		for j, other := range s.Nodes {
			if j != i {
				cfg.P2P.Bootstrap = append(cfg.P2P.Bootstrap, other.Address)
			}
		}
		cfg.API = configs.API{Listen: n.API, Socket: "api.sock"}
		cfg.Gateway = configs.Gateway{Enabled: true, Listen: n.Gateway}
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		if len(n.Socket) > 107 {
			return nil, fmt.Errorf("socket %s: the path is longer than the 107 bytes that the system takes; choose a shorter folder with --dir", n.Socket)
		}
		if err := writeNew(filepath.Join(n.Dir, "genesis.cbor"), raw); err != nil {
			return nil, fmt.Errorf("write genesis: %w", err)
		}
		if err := configs.Write(filepath.Join(n.Dir, "config.toml"), cfg); err != nil {
			return nil, err
		}
	}
	return s, s.write(dir)
}

func hostPort(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts asks the system for n ports that are free for TCP and UDP on loopback. All are held until all are known,
// so that none comes twice.
func freePorts(n int) ([]int, error) {
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > 10*n {
			return nil, errors.New("find free ports on 127.0.0.1: the system keeps giving ports whose UDP half is taken")
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		held = append(held, l)
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", hostPort(port))
		if err != nil {
			continue
		}
		held = append(held, u)
		ports = append(ports, port)
	}
	return ports, nil
}
