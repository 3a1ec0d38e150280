package main

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
)

func freshKey(t *testing.T) sign.PrivateKey {
	t.Helper()
	k, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// someSet is a set of validators with names; the first has the key.
func someSet(t *testing.T, first sign.PrivateKey, names ...string) []api.Validator {
	t.Helper()
	var list []api.Validator
	for i, name := range names {
		k := freshKey(t)
		if i == 0 {
			k = first
		}
		list = append(list, api.Validator{Key: k.Public(), Weight: 1, Peer: freshKey(t).Public(), Name: name})
	}
	return list
}

func TestValidatorsAreListedWithWhatIsProposed(t *testing.T) {
	set := someSet(t, freshKey(t), "anna", "berta", "carl", "dora")
	next := append([]api.Validator{}, set[:3]...)
	next[1].Weight = 4
	next = append(next, someSet(t, freshKey(t), "emil")...)
	v := api.Validators{Epoch: 3, Total: 4, Quorum: 3, Validators: set, Proposals: []api.Proposal{{ID: digest.Of([]byte("p")), Next: next, Weight: 2}}}
	url := fakeNode(t, map[string]any{"GET /v1/chain/validators": v})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "chain", "validators")
	for _, want := range []string{"epoch 3: 4 validators of weight 4; 3 decides", "anna", "2 of 4", "berta weight 1→4, -dora, +emil (weight 1)"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, no %q in %q, %q", code, want, out, errs)
		}
	}
}

func TestProposalsAreCheckedBeforeTheyAreSigned(t *testing.T) {
	home, key := t.TempDir(), freshKey(t)
	if err := os.MkdirAll(filepath.Join(home, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	set := someSet(t, key, "anna", "berta")
	lie := api.Proposal{ID: digest.Of([]byte("what anna wants")), Next: set[:1], Weight: 1}
	v := api.Validators{Total: 2, Quorum: 2, Validators: set, Proposals: []api.Proposal{lie}}
	url := fakeNode(t, map[string]any{"GET /v1/chain/validators": v})
	card := filepath.Join(home, "card.json")
	raw, err := json.Marshal(map[string]any{"name": "berta", "node": freshKey(t).Public(), "validator": freshKey(t).Public(), "operator": freshKey(t).Public()})
	if err == nil {
		err = os.WriteFile(card, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	check := func(want string, args ...string) {
		t.Helper()
		if code, out, errs := bpi(t, home, append([]string{"--api", url, "chain", "validators"}, args...)...); code == 0 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d, %q, %q; want %q", args, code, out, errs, want)
		}
	}
	check("with the home folder of a validator", "propose", "--remove", "berta")
	if err := keyfile.Save(filepath.Join(home, "keys", keyfile.Validator.FileName()), keyfile.Validator, freshKey(t)); err != nil {
		t.Fatal(err)
	}
	check("is not in the set of epoch 0", "propose", "--remove", "berta")
	theirs := filepath.Join(home, "anna.key")
	if err := keyfile.Save(theirs, keyfile.Validator, key); err != nil {
		t.Fatal(err)
	}
	check("none has that name or key", "propose", "--validator-key", theirs, "--remove", "zoe")
	check("has the name or a key of validator berta", "propose", "--validator-key", theirs, "--add", card)
	check("want NAME=N with N from 1", "propose", "--validator-key", theirs, "--weight", "anna=0")
	check("a chain needs one", "propose", "--validator-key", theirs, "--remove", "anna", "--remove", "berta")
	check("0 proposals of epoch 0 begin so", "approve", "--validator-key", theirs, "ffff")
	check("with another set than the one of that id", "approve", "--validator-key", theirs, lie.ID.Short())
}

// A new validator of a chain of bls12-381 comes with its key for votes, and a card without one is refused.
func TestProposalCarriesTheBLSKeyOfTheCard(t *testing.T) {
	home, key, added := t.TempDir(), freshKey(t), freshKey(t)
	if err := keyfile.Save(filepath.Join(home, "keys", keyfile.Validator.FileName()), keyfile.Validator, key); err != nil {
		t.Fatal(err)
	}
	set := someSet(t, key, "anna")
	set[0].BLS = consensus.ProveBLS(key)
	v := api.Validators{Total: 1, Quorum: 1, Validators: set, Proposals: []api.Proposal{}}
	url := fakeNode(t, map[string]any{"GET /v1/chain/validators": v})
	file := func(c card) string {
		path := filepath.Join(t.TempDir(), "card.json")
		raw, err := json.Marshal(c)
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := card{Name: "emil", Node: freshKey(t).Public(), Validator: added.Public(), Operator: freshKey(t).Public()}
	bare := file(c)
	c.BLS = consensus.ProveBLS(key)
	another := file(c)
	c.BLS = consensus.ProveBLS(added)
	good := file(c)
	propose := func(card string) string {
		_, _, errs := bpi(t, home, "--api", url, "chain", "validators", "propose", "--add", card)
		return errs
	}
	if errs := propose(bare); !strings.Contains(errs, "has no bls key") {
		t.Errorf("a card without a bls key: %q", errs)
	}
	if errs := propose(another); !strings.Contains(errs, "does not own to bls key") {
		t.Errorf("a card with another's bls key: %q", errs)
	}
	next, err := nextWith(set, good, consensus.BLS12381)
	if err != nil || next[1].BLS != c.BLS || proposal(&v, next).Next[1].BLS != c.BLS {
		t.Errorf("%+v, %v", next, err)
	}
}

func TestEvidenceIsCheckedHere(t *testing.T) {
	chain := api.ChainStatus{Chain: api.Chain{ID: digest.Of([]byte("chain")), Name: "test"}}
	key := freshKey(t)
	half := func(what string) consensus.Signed {
		d := consensus.VoteData{ChainID: chain.Chain.ID, View: 7, Block: digest.Of([]byte(what))}
		return consensus.Signed{Data: canon.Must(&d), Sig: consensus.NewSigner(consensus.Ed25519, key).Sign(d.SigningBytes())}
	}
	e := consensus.Evidence{Kind: consensus.DoubleVote, Key: key.Public(), View: 7, First: half("a"), Second: half("b")}
	good := api.Evidence{ID: digest.Of([]byte("1")), Key: key.Public(), Kind: string(e.Kind), View: 7, Removed: true, Proof: e.Encode()}
	other := good
	other.ID, other.Key = digest.Of([]byte("2")), freshKey(t).Public() // the node blames another with the same proof
	url := fakeNode(t, map[string]any{"GET /v1/chain": chain, "GET /v1/chain/evidence": []api.Evidence{good, other}})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "chain", "evidence")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 3 || !strings.Contains(lines[1], "holds") || !strings.Contains(lines[1], "two votes in one view") || !strings.Contains(lines[2], "DOES NOT HOLD") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	// Watching shows each piece once, and ends with its time.
	code, out, _ = bpi(t, t.TempDir(), "--api", url, "--timeout", "700ms", "chain", "evidence", "--watch")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != exitTimeout || len(lines) != 2 || !strings.Contains(lines[0], "proof holds") {
		t.Errorf("--watch: exit code %d, %q", code, out)
	}
}

func TestWatchingShowsEveryHeadOnce(t *testing.T) {
	s := api.ChainStatus{Head: api.Head{Height: 4, Block: digest.Of([]byte("b")), Epoch: 2}}
	b := api.Block{Height: 4, ID: s.Head.Block, Epoch: 1, Next: someSet(t, freshKey(t), "anna", "berta")}
	url := fakeNode(t, map[string]any{"GET /v1/chain": s, "GET /v1/chain/blocks/{height}": b})
	for what, want := range map[string]string{"status": "block 4", "block": "closes epoch 1: 2 validators follow"} {
		code, out, errs := bpi(t, t.TempDir(), "--api", url, "--timeout", "700ms", "chain", what, "--watch")
		if lines := strings.Split(strings.TrimSpace(out), "\n"); code != exitTimeout || len(lines) != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, %q, %q", what, code, out, errs)
		}
	}
	code, out, _ := bpi(t, t.TempDir(), "--api", url, "chain", "block", "4")
	if code != 0 || !strings.Contains(out, "closes epoch 1 for") || !strings.Contains(out, "anna, weight 1, key ") {
		t.Errorf("exit code %d, %q", code, out)
	}
}
