package enc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// testValidators are n validators of weight 1, from the one of that number on.
func testValidators(from, n int) []consensus.Validator {
	list := []consensus.Validator{}
	for i := from; i < from+n; i++ {
		list = append(list, consensus.Validator{
			Key: testKey("validator", i).Public(), Weight: 1, Peer: testKey("peer", i).Public(), Name: fmt.Sprintf("v%d", i),
		})
	}
	return list
}

// summing gives validators the keys of BLS12-381.
func summing(list []consensus.Validator) []consensus.Validator {
	list = slices.Clone(list)
	for i := range list {
		for k := range 16 {
			if key := testKey("validator", k); key.Public() == list[i].Key {
				list[i].BLS = consensus.ProveBLS(key)
			}
		}
	}
	return list
}

// equivocation is evidence that validator i voted twice.
func (c *chain) equivocation(i int) consensus.Evidence {
	k := testKey("validator", i)
	e := consensus.Evidence{Kind: consensus.DoubleVote, Key: k.Public(), View: 7}
	scheme := consensus.Ed25519
	if !c.validators[0].BLS.IsZero() {
		scheme = consensus.BLS12381
		b := consensus.ProveBLS(k)
		e.BLS, e.Link = b.Key, b.Link
	}
	half := func(what string) consensus.Signed {
		d := consensus.VoteData{ChainID: c.id, View: 7, Block: digest.Of([]byte(what))}
		return consensus.Signed{Data: canon.Must(&d), Sig: consensus.NewSigner(scheme, k).Sign(d.SigningBytes())}
	}
	e.First, e.Second = half("a"), half("b")
	return e
}

// send makes a block of one proposal by validator i.
func (c *chain) send(i int, epoch consensus.Epoch, next []consensus.Validator) {
	c.t.Helper()
	c.block(c.cmd(testKey("validator", i), &ProposeValidators{Epoch: epoch, Next: next}))
}

func (c *chain) set(epoch consensus.Epoch, want []consensus.Validator) {
	c.t.Helper()
	e, have := c.s.Validators()
	if e != epoch || !slices.Equal(have, want) {
		c.t.Fatalf("epoch %d with %d validators, want epoch %d with %d", e, len(have), epoch, len(want))
	}
}

func TestAQuorumOfTheWeightChangesTheValidators(t *testing.T) {
	c := newChain(t, 1, nil)
	next := testValidators(1, 5)
	for i := range 2 {
		c.send(i, 0, next)
		c.refused(0)
		if c.count(EventProposed) != 1 || c.s.NextValidators() != nil {
			t.Fatalf("approval %d of 4: %+v", i+1, c.events)
		}
	}
	if p := c.s.Proposals(); len(p) != 1 || p[0].Weight != 2 || len(p[0].Approvals) != 2 || p[0].ID != (&ProposeValidators{Next: next}).ID() {
		t.Fatalf("proposals %+v", p)
	}
	c.send(0, 0, next) // approving twice counts once
	c.refused(0)
	if c.s.NextValidators() != nil {
		t.Fatal("one validator counted twice")
	}
	c.send(3, 0, next)
	if c.count(EventValidators) != 1 || !slices.Equal(c.s.NextValidators(), next) || len(c.s.Proposals()) != 0 {
		t.Fatalf("three of four: %+v", c.events)
	}
	c.set(0, c.validators)
	c.block()
	c.set(1, next)
	if c.s.NextValidators() != nil {
		t.Fatal("the epoch closes twice")
	}
	c.send(0, 1, testValidators(0, 4))
	c.refused(1)
	if r := c.refusal().Reason; !strings.Contains(r, "no validator of epoch 1") {
		t.Error(r)
	}
}

func TestWeightsDecideNotHeads(t *testing.T) {
	c := newChain(t, 1, nil)
	heavy := testValidators(0, 4)
	heavy[2].Weight = 10
	for i := range 3 {
		c.send(i, 0, heavy)
	}
	c.block()
	c.set(1, heavy)
	next := testValidators(0, 3)
	for _, i := range []int{0, 1, 3} { // three heads of four with 3 of 13
		c.send(i, 1, next)
	}
	if c.s.NextValidators() != nil {
		t.Fatal("3 of a weight of 13 are a quorum")
	}
	c.send(2, 1, next)
	if c.s.NextValidators() == nil {
		t.Fatal("all are no quorum")
	}
}

func TestProposalsThatAreRefused(t *testing.T) {
	c := newChain(t, 1, nil)
	two := testValidators(0, 2)
	two[1].Peer = two[0].Peer
	if _, err := NewBody(c.id, 1, [16]byte{}, &ProposeValidators{Next: two}); err == nil {
		t.Error("two validators on one node")
	}
	if _, err := NewBody(c.id, 1, [16]byte{}, &ProposeValidators{Next: []consensus.Validator{}}); err == nil {
		t.Error("no validator")
	}
	for _, x := range []struct {
		who   sign.PrivateKey
		epoch consensus.Epoch
		next  []consensus.Validator
		why   string
	}{
		{c.client, 0, testValidators(0, 3), "is no validator"},
		{testKey("validator", 0), 1, testValidators(0, 3), "is for epoch 1 to end, the chain is in epoch 0"},
		{testKey("validator", 0), 0, c.validators, "changes nothing"},
	} {
		c.block(c.cmd(x.who, &ProposeValidators{Epoch: x.epoch, Next: x.next}))
		c.refused(1)
		if r := c.refusal().Reason; !strings.Contains(r, x.why) {
			t.Errorf("%q, want %q", r, x.why)
		}
	}
	var cmds []*Command // the fourth comes in the block that three have closed
	for i := range 4 {
		cmds = append(cmds, c.cmd(testKey("validator", i), &ProposeValidators{Next: testValidators(0, 3)}))
	}
	c.block(cmds...)
	c.refused(1)
	if r := c.refusal().Reason; !strings.Contains(r, "has just been closed") {
		t.Error(r)
	}
}

func TestAValidatorStandsBehindOneProposal(t *testing.T) {
	c := newChain(t, 1, nil)
	a, b := testValidators(0, 3), testValidators(0, 5)
	c.send(0, 0, a)
	c.send(1, 0, a)
	c.send(0, 0, b)
	if p := c.s.Proposals(); len(p) != 2 || p[0].Weight != 1 || p[1].Weight != 1 {
		t.Fatalf("%+v", p)
	}
	c.send(1, 0, b)
	if p := c.s.Proposals(); len(p) != 1 || p[0].Weight != 2 || !slices.Equal(p[0].Next, b) {
		t.Fatalf("%+v", p)
	}
}

func TestEvidenceRemovesTheKeyForGood(t *testing.T) {
	for name, reporter := range map[string]sign.PrivateKey{"validator": testKey("validator", 0), "executor": testKey("node", 0), "client": testKey("client", 0)} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, 1, nil)
			e := c.equivocation(2)
			c.send(0, 0, testValidators(0, 5)) // void with the epoch
			c.block(c.cmd(reporter, &ReportEvidence{Evidence: e}), c.cmd(reporter, &ReportEvidence{Evidence: e}))
			c.refused(1)
			if r := c.refusal().Reason; !strings.Contains(r, "on record already") || c.count(EventEvidence) != 1 {
				t.Fatalf("%q: %+v", r, c.events)
			}
			c.block()
			want := append(testValidators(0, 2), testValidators(3, 1)...)
			c.set(1, want)
			list := c.s.Convictions()
			if len(list) != 1 || !list[0].Removed || list[0].Reporter != reporter.Public() || list[0].Evidence.Verify(c.id) != nil {
				t.Fatalf("%+v", list)
			}
			c.send(0, 1, testValidators(0, 4))
			c.refused(1)
			if r := c.refusal().Reason; !strings.Contains(r, "cannot come back") {
				t.Error(r)
			}
		})
	}
}

func TestEvidenceThatDoesNotHoldIsRefused(t *testing.T) {
	c := newChain(t, 1, nil)
	good := c.equivocation(1)
	stranger := c.equivocation(9)
	forged := c.equivocation(1)
	forged.Second.Sig[3] ^= 1
	same := good
	same.Second = same.First
	for what, e := range map[string]consensus.Evidence{"is no validator": stranger, "a signature is not valid": forged, "both statements are the same": same} {
		c.block(c.cmd(c.client, &ReportEvidence{Evidence: e}))
		c.refused(1)
		if r := c.refusal().Reason; !strings.Contains(r, what) {
			t.Errorf("%q, want %q", r, what)
		}
	}
	c.set(0, c.validators)
}

func TestEvidenceCountsAgainstTheNextSetToo(t *testing.T) {
	c := newChain(t, 1, nil)
	var cmds []*Command
	for i := range 3 {
		cmds = append(cmds, c.cmd(testKey("validator", i), &ProposeValidators{Next: testValidators(1, 5)}))
	}
	cmds = append(cmds, c.cmd(c.client, &ReportEvidence{Evidence: c.equivocation(2)}), c.cmd(c.client, &ReportEvidence{Evidence: c.equivocation(0)}))
	c.block(cmds...)
	c.refused(0)
	c.block()
	c.set(1, append(testValidators(1, 1), testValidators(3, 3)...))
}

func TestTheLastValidatorStays(t *testing.T) {
	c := newChain(t, 1, nil)
	for i := range 3 {
		c.send(i, 0, testValidators(0, 1))
	}
	c.block(c.cmd(c.client, &ReportEvidence{Evidence: c.equivocation(0)}))
	c.refused(0)
	if list := c.s.Convictions(); len(list) != 1 || list[0].Removed || c.s.NextValidators() != nil {
		t.Fatalf("%+v", list)
	}
	c.set(1, testValidators(0, 1))
}

// TestValidatorsFollowTheNaiveRules sends proposals and evidence at random and compares with maps kept by hand; a second
// state, loaded from the leaves at every block, must stay the same.
func TestValidatorsFollowTheNaiveRules(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 4))
		c := newChain(t, 1, nil)
		set := slices.Clone(c.validators)
		epoch := consensus.Epoch(0)
		behind := map[sign.PublicKey]digest.Digest{}
		guilty := map[sign.PublicKey]bool{}
		pool := testValidators(0, 7)
		index := func(k sign.PublicKey) int {
			return slices.IndexFunc(pool, func(v consensus.Validator) bool { return v.Key == k })
		}
		for range 60 {
			var next []consensus.Validator // by hand: nil while the epoch is open
			var cmds []*Command
			for range 1 + rng.IntN(3) {
				if rng.IntN(12) == 0 {
					i := rng.IntN(len(pool))
					cmds = append(cmds, c.cmd(c.client, &ReportEvidence{Evidence: c.equivocation(i)}))
					k := pool[i].Key
					if !slices.ContainsFunc(set, func(v consensus.Validator) bool { return v.Key == k }) || guilty[k] {
						continue
					}
					guilty[k] = true
					left := without(next, k)
					if len(left) == 0 {
						left = without(set, k)
					}
					if len(left) > 0 {
						next = left
						clear(behind)
					}
					continue
				}
				p := &ProposeValidators{Epoch: epoch, Next: slices.Clone(pool[:1+rng.IntN(3)])}
				if rng.IntN(2) == 0 {
					p.Next = append(p.Next, pool[3+rng.IntN(4)])
				}
				p.Next[0].Weight = 1 + rng.Uint64N(2)
				who := set[rng.IntN(len(set))].Key
				cmds = append(cmds, c.cmd(testKey("validator", index(who)), p))
				bad := next != nil || slices.ContainsFunc(p.Next, func(v consensus.Validator) bool { return guilty[v.Key] })
				if bad || slices.Equal(p.Next, set) {
					continue
				}
				behind[who] = p.ID()
				var sum, total uint64
				for _, v := range set {
					total += v.Weight
					if behind[v.Key] == p.ID() {
						sum += v.Weight
					}
				}
				if 3*sum > 2*total {
					next = p.Next
					clear(behind)
				}
			}
			c.block(cmds...)
			if have := c.s.NextValidators(); !slices.Equal(have, next) || (have == nil) != (next == nil) {
				t.Fatalf("seed %d, block %d: next set %v, by hand %v", seed, c.at.Height, have, next)
			}
			again, err := Load(c.id, func(yield func([]byte, []byte) bool) {
				for k, v := range c.s.Leaves() {
					if !yield(k, bytes.Clone(v)) {
						return
					}
				}
			})
			if err != nil || again.Root() != c.s.Root() {
				t.Fatalf("seed %d: loaded state differs: %v", seed, err)
			}
			c.s = again
			if next != nil {
				epoch, set = epoch+1, next
			}
			c.block()
			c.set(epoch, set)
			if n := len(c.s.Convictions()); n != len(guilty) {
				t.Fatalf("seed %d: %d convictions, by hand %d", seed, n, len(guilty))
			}
		}
	}
}

// Under BLS12-381 a change brings keys with their proofs, and is refused without.
func TestValidatorsOfBLSChangeWithProvenKeys(t *testing.T) {
	c := newChainOf(t, 1, summing(testValidators(0, 4)), nil)
	next := summing(testValidators(1, 5))
	borrowed, unproven := slices.Clone(next), slices.Clone(next)
	borrowed[4].BLS = next[3].BLS
	unproven[4].BLS.Proof = next[3].BLS.Proof
	for why, list := range map[string][]consensus.Validator{
		"the chain's scheme is bls12-381": testValidators(1, 5), "proof of possession": unproven,
	} {
		c.send(0, 0, list)
		c.refused(1)
		if r := c.refusal().Reason; !strings.Contains(r, why) {
			t.Errorf("%q, want %q", r, why)
		}
	}
	if _, err := NewBody(c.id, 1, [16]byte{}, &ProposeValidators{Next: borrowed}); err == nil || !strings.Contains(err.Error(), "stands twice") {
		t.Errorf("a bls key twice: %v", err)
	}
	for i := range 3 {
		c.send(i, 0, next)
		c.refused(0)
	}
	c.block()
	c.set(1, next)
	c.block(c.cmd(c.client, &ReportEvidence{Evidence: c.equivocation(2)}))
	c.refused(0)
	if list := c.s.Convictions(); len(list) != 1 || !list[0].Removed || list[0].Evidence.Verify(c.id) != nil {
		t.Fatalf("%+v", list)
	}
	c.block()
	c.set(2, without(next, testKey("validator", 2).Public()))
}
