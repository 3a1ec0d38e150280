package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
)

// card is a peer's public keys, for the genesis document of a chain that is begun on another machine.
type card struct {
	Name      string         `json:"name"`
	Node      sign.PublicKey `json:"node"`
	Validator sign.PublicKey `json:"validator"`
	Operator  sign.PublicKey `json:"operator"`
	// BLS is the validator's key for votes on a chain of bls12-381.
	BLS consensus.BLSKey `json:"bls,omitzero"`
}

// maxCardBytes bounds a card file.
const maxCardBytes = 4096

// writeCard makes the keys of this home, where they are missing, and writes their public halves.
func writeCard(e *env, name string) error {
	f, err := makeKeys(e.home)
	if err != nil {
		return err
	}
	if name == "" {
		name = hostName()
	}
	if err := checkPeerName(name); err != nil {
		return usageError(err)
	}
	e.say("the keys are in %s; give this card to whoever begins the chain", tilde(e.home))
	return writeJSON(e.out, card{name, f.node, f.validator, f.operator, f.bls})
}

// readCard reads another peer's card.
func readCard(path string) (founder, error) {
	raw, err := readBounded(path, maxCardBytes)
	if err != nil {
		return founder{}, fmt.Errorf("founder's card: %w; its peer writes it with: bpi init --card > FILE", err)
	}
	f, err := parseCard(raw)
	if err != nil {
		return founder{}, fmt.Errorf("founder's card %s: %w; its peer writes it with: bpi init --card > FILE", path, err)
	}
	return f, nil
}

func parseCard(raw []byte) (founder, error) {
	var c card
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more than one JSON value")
		}
	}
	switch {
	case err != nil:
	case c.Node.IsZero() || c.Validator.IsZero() || c.Operator.IsZero():
		err = errors.New("a key is missing")
	default:
		err = checkPeerName(c.Name)
	}
	f := founder{name: c.Name, node: c.Node, validator: c.Validator, operator: c.Operator, bls: c.BLS}
	if err == nil && !f.bls.IsZero() {
		v, _ := f.member(consensus.BLS12381) // the key is there
		_, err = consensus.NewValidatorSet([]consensus.Validator{v})
	}
	return f, err
}

func checkPeerName(s string) error {
	if s == "" || len(s) > 32 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("name %.40q: want 1 to 32 of a-z, 0-9 and -", s)
	}
	return nil
}

// hostName is this machine's name as a peer's, or node1.
func hostName() string {
	h, err := os.Hostname()
	h, _, _ = strings.Cut(strings.ToLower(h), ".")
	if err != nil || checkPeerName(h) != nil {
		return "node1"
	}
	return h
}

// founders are this peer and those of the cards. Two with one name or key are refused: no job would ever run on both.
func founders(e *env, name string, cards []string) ([]founder, error) {
	self, err := makeKeys(e.home)
	if err != nil {
		return nil, err
	}
	self.name = name
	if name == "" {
		self.name = hostName()
	}
	if err := checkPeerName(self.name); err != nil {
		return nil, usageError(err)
	}
	list := []founder{self}
	for _, path := range cards {
		f, err := readCard(path)
		if err != nil {
			return nil, err
		}
		for _, g := range list {
			if f.name == g.name || f.node == g.node || f.validator == g.validator || f.operator == g.operator {
				return nil, fmt.Errorf("founder's card %s: %s has the name or a key of %s; every founder makes its own with: bpi init --card --name NAME", path, f.name, g.name)
			}
		}
		list = append(list, f)
	}
	return list, nil
}
