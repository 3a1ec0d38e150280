package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// devnetState is devnet/state.json: what runs, so that down and status find it.
type devnetState struct {
	Network    string       `json:"network"` // display name of the chain
	Supervisor process      `json:"supervisor"`
	Detached   bool         `json:"detached"`
	Nodes      []devnetNode `json:"nodes"`
}

// devnetNode is one peer of a devnet.
type devnetNode struct {
	Name    string  `json:"name"`
	Dir     string  `json:"dir"`
	Process process `json:"process"`
	Socket  string  `json:"socket"`
	Address string  `json:"address"` // libp2p multiaddr
	API     string  `json:"api"`     // TCP host:port
	Gateway string  `json:"gateway"` // TCP host:port
}

// devnetMark is a file that marks a folder as made by devnet up: down removes no other.
const devnetMark = ".metanode-devnet"

func (e *env) devnetDir(flag string) string {
	if flag != "" {
		return flag
	}
	return filepath.Join(e.home, "devnet")
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

// readDevnet reads a devnet's state; os.ErrNotExist means that there is none.
func readDevnet(dir string) (*devnetState, error) {
	raw, err := os.ReadFile(statePath(dir))
	if err != nil {
		return nil, err
	}
	var s devnetState
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("devnet state %s: %w; remove the folder if no devnet runs", statePath(dir), err)
	}
	return &s, nil
}

// write replaces the state file in one step.
func (s *devnetState) write(dir string) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := statePath(dir) + ".new"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write devnet state: %w", err)
	}
	if err := os.Rename(tmp, statePath(dir)); err != nil {
		return fmt.Errorf("write devnet state: %w", err)
	}
	return nil
}

// running lists the nodes whose processes run.
func (s *devnetState) running() []devnetNode {
	var out []devnetNode
	for _, n := range s.Nodes {
		if n.Process.alive() {
			out = append(out, n)
		}
	}
	return out
}

// removeDevnet removes a devnet's folder, if it is one.
func removeDevnet(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, devnetMark)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s was not made by bpi devnet up and is left alone", dir)
		}
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the devnet's folder: %w", err)
	}
	return nil
}
