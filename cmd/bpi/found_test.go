package main

import (
	"encoding/json"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
)

// FuzzParseCard reads what other founders send: a card that is taken has a name that is one, all its keys, and comes
// back from its own form.
func FuzzParseCard(f *testing.F) {
	secret := sign.FromSeed(make([]byte, 32))
	key := secret.Public()
	good, err := json.Marshal(card{Name: "berta", Node: key, Validator: key, Operator: key})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	summing, err := json.Marshal(card{"berta", key, key, key, consensus.ProveBLS(secret)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(summing)
	f.Add(append(good, good...))
	f.Add([]byte(`{"name":"Berta","node":null}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := parseCard(raw)
		if err != nil {
			return
		}
		if checkPeerName(x.name) != nil || x.node.IsZero() || x.validator.IsZero() || x.operator.IsZero() {
			t.Fatalf("took %+v", x)
		}
		again, err := json.Marshal(card{x.name, x.node, x.validator, x.operator, x.bls})
		if err != nil {
			t.Fatal(err)
		}
		if y, err := parseCard(again); err != nil || y != x {
			t.Fatalf("%s reads as %+v, %v", again, y, err)
		}
	})
}
