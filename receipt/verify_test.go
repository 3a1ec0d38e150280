package receipt_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// chain is a small chain with real headers and certificates.
type chain struct {
	genesis *consensus.Genesis
	set     *consensus.ValidatorSet
	keys    []sign.PrivateKey
	headers []consensus.Header
	events  [][]receipt.Event

	handovers []*consensus.Handover
}

func newChain(t testing.TB) *chain { return newChainOf(t, consensus.Ed25519) }

// eachScheme runs a test under every signature scheme.
func eachScheme(t *testing.T, test func(*testing.T, consensus.Scheme)) {
	for _, s := range consensus.Schemes() {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// member is the validator with key k.
func member(scheme consensus.Scheme, k, peer sign.PrivateKey, name string) consensus.Validator {
	v := consensus.Validator{Key: k.Public(), Weight: 1, Peer: peer.Public(), Name: name}
	if scheme == consensus.BLS12381 {
		v.BLS = consensus.ProveBLS(k)
	}
	return v
}

func newChainOf(t testing.TB, scheme consensus.Scheme) *chain {
	t.Helper()
	c := &chain{}
	g := &consensus.Genesis{Scheme: scheme, Version: consensus.ProtocolVersion, Name: "devnet", TimestampMs: 1_700_000_000_000, BlockTimeMs: 1000, MaxTxsPerBlock: 100, App: []byte{}}
	for i := range 4 {
		k := testKey(byte(10 + i))
		c.keys = append(c.keys, k)
		g.Validators = append(g.Validators, member(scheme, k, testKey(byte(20+i)), fmt.Sprint("node", i)))
	}
	set, err := consensus.NewValidatorSet(g.Validators)
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.Block(digest.Of(nil))
	if err != nil {
		t.Fatal(err)
	}
	c.genesis, c.set, c.headers, c.events = g, set, []consensus.Header{b.Header}, [][]receipt.Event{nil}
	return c
}

func encoded(events []receipt.Event) [][]byte {
	var l [][]byte
	for i := range events {
		l = append(l, events[i].Encode())
	}
	return l
}

// add appends a block with events.
func (c *chain) add(events ...receipt.Event) *consensus.Header {
	p := c.headers[len(c.headers)-1]
	h := p
	h.Epoch, h.Validators = p.NextEpoch(), p.NextVals
	h.Parent, h.Height, h.View, h.TimestampMs = p.ID(), p.Height+1, p.View+1, p.TimestampMs+10
	h.Proposer, h.EventRoot, h.HistoryCount = c.keys[0].Public(), merkle.Root(encoded(events)), uint64(p.Height+1)
	c.headers, c.events = append(c.headers, h), append(c.events, events)
	return &c.headers[len(c.headers)-1]
}

// certify is a quorum's word that h is final.
func (c *chain) certify(h *consensus.Header) consensus.QC {
	d := consensus.VoteData{ChainID: c.genesis.ChainID(), Epoch: h.Epoch, View: h.View + 1, Block: digest.Of([]byte("child")), CommitRef: h.ID()}
	var sigs []consensus.Signature
	for _, k := range c.keys[:3] {
		sigs = append(sigs, consensus.NewSigner(c.genesis.Scheme, k).Sign(d.SigningBytes()))
	}
	q, err := consensus.NewQC(c.set, d, []int{0, 1, 2}, sigs)
	if err != nil {
		panic(err)
	}
	return *q
}

// change closes the epoch in favour of four other validators, whose keys are certify's from then on.
func (c *chain) change(t testing.TB) {
	t.Helper()
	e := otherEvent(77)
	e.Kind = "validators-changed"
	h := c.add(e)
	o := &consensus.Handover{}
	var keys []sign.PrivateKey
	for i := range 4 {
		k := testKey(byte(100 + 8*len(c.handovers) + i))
		keys = append(keys, k)
		o.Next = append(o.Next, member(c.genesis.Scheme, k, testKey(byte(20+i)), fmt.Sprint("next", i)))
	}
	set, err := consensus.NewValidatorSet(o.Next)
	if err != nil {
		t.Fatal(err)
	}
	h.NextVals = set.Digest()
	o.Finality = consensus.Finality{Headers: []consensus.Header{*h}, QC: c.certify(h)}
	c.keys, c.handovers = keys, append(c.handovers, o)
}

func (c *chain) trust() *receipt.TrustFile {
	return receipt.NewTrustFile(c.genesis, &c.headers[0], c.set)
}

func sealEvent(s *receipt.Seal) receipt.Event {
	return receipt.Event{Kind: receipt.KindJobSealed, Subject: s.Job, Decision: "sealed", Reason: "2 of 3 peers agree", Body: canon.Must(s)}
}

func otherEvent(n int) receipt.Event {
	return receipt.Event{Kind: "job-submitted", Actor: testKey(9).Public(), Subject: digest.Of([]byte{byte(n)}), Decision: "accepted", Reason: fmt.Sprintf("line %d, \"quoted\" <é>", n), Body: []byte{}}
}

// sealed makes a chain with a sealed job in block 1 of three, and its receipt.
func sealed(t testing.TB) (*chain, *receipt.Receipt) {
	t.Helper()
	return sealedOn(t, func(*receipt.Placement) {})
}

// sealedOn is sealed with another placement: what a chain would have to write to deceive.
func sealedOn(t testing.TB, change func(*receipt.Placement)) (*chain, *receipt.Receipt) {
	t.Helper()
	return sealedLater(t, 0, change)
}

// sealedLater is sealedOn after some changes of all validators.
func sealedLater(t testing.TB, changes int, change func(*receipt.Placement)) (*chain, *receipt.Receipt) {
	t.Helper()
	return sealedOf(t, consensus.Ed25519, changes, change)
}

func sealedOf(t testing.TB, scheme consensus.Scheme, changes int, change func(*receipt.Placement)) (*chain, *receipt.Receipt) {
	t.Helper()
	c := newChainOf(t, scheme)
	for range changes {
		c.change(t)
	}
	w, o := testWork(), testOutcome()
	job := digest.Of([]byte("job"))
	st := receipt.NewStatement(c.genesis.ChainID(), job, 2, &w, &o, receipt.KeyedOutput(job, 2, testOutputs()))
	var keys []sign.PublicKey
	var sigs []sign.Signature
	place := receipt.Placement{Height: 1, Seed: c.headers[0].ID(), R: 3, Q: 2}
	for i := range 3 {
		k := testKey(byte(20 + i))
		place.Peers = append(place.Peers, receipt.Assigned{Peer: k.Public(), Operator: testKey(byte(30 + i)).Public(), Round: 1})
		if i < 2 {
			keys, sigs = append(keys, k.Public()), append(sigs, k.Sign(st.SigningBytes()))
		}
	}
	change(&place)
	env, err := receipt.NewEnvelope(st, keys, sigs)
	if err != nil {
		t.Fatal(err)
	}
	var agreeing []sign.PublicKey
	for _, s := range env.Signatures {
		agreeing = append(agreeing, s.KeyID)
	}
	seal := receipt.Seal{
		Job: job, Client: testKey(40).Public(), Work: w.Digest(), Statement: st.Digest(), Round: 2, Placement: place,
		Agreeing: agreeing, Outputs: o.Outputs, ExitCode: o.ExitCode,
	}
	h := *c.add(otherEvent(0), otherEvent(1), sealEvent(&seal), otherEvent(3), otherEvent(4))
	next := *c.add(otherEvent(5))
	f := &consensus.Finality{Headers: []consensus.Header{h, next}, QC: c.certify(&next)}
	r, err := receipt.NewReceipt(c.trust().Chain, env, encoded(c.events[changes+1]), 2, f, c.handovers,
		[]receipt.Archived{{Name: "result", Content: testOutputs()["result"]}, {Name: "stderr", Content: []byte{}}, {Name: "stdout", Content: testOutputs()["stdout"]}})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

func text(t testing.TB, v interface{ Encode() ([]byte, error) }) []byte {
	t.Helper()
	b, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReceiptVerifiesOffline(t *testing.T) { eachScheme(t, testReceiptVerifiesOffline) }

func testReceiptVerifiesOffline(t *testing.T, scheme consensus.Scheme) {
	c, r := sealedOf(t, scheme, 0, func(*receipt.Placement) {})
	trust, err := receipt.ParseTrust(text(t, c.trust()))
	if err != nil {
		t.Fatal(err)
	}
	_, report := receipt.VerifyText(text(t, r), trust, map[string][]byte{"stdout": []byte("3\n")})
	for _, s := range report.Steps {
		want := receipt.OK
		if s.Name == receipt.StepReexecute {
			want = receipt.NotChecked
		}
		if s.Status != want {
			t.Errorf("%s: %s: %s", s.Name, s.Status, s.Detail)
		}
	}
	if !report.Valid() || report.Statement.Job != digest.Of([]byte("job")) {
		t.Errorf("not valid: %+v", report)
	}
	if name := c.genesis.DisplayName(); !strings.Contains(report.Steps[0].Detail, name) {
		t.Errorf("the chain is %s, and the first line says: %s", name, report.Steps[0].Detail)
	}
}

func TestReceiptMayBeIndentedAnew(t *testing.T) {
	c, r := sealed(t)
	var b bytes.Buffer
	if err := json.Compact(&b, text(t, r)); err != nil {
		t.Fatal(err)
	}
	if _, report := receipt.VerifyText(b.Bytes(), c.trust(), nil); !report.Valid() {
		t.Errorf("%+v", report)
	}
}

// leaves calls f with a setter for every value in a decoded JSON document, and its path.
func leaves(v any, path string, set func(any), f func(path string, v any, set func(any))) {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			leaves(x[k], path+"."+k, func(n any) { x[k] = n }, f)
		}
	case []any:
		for i := range x {
			leaves(x[i], fmt.Sprint(path, "[", i, "]"), func(n any) { x[i] = n }, f)
		}
	default:
		f(path, v, set)
	}
}

// tampered gives other values of v's type: every character changed, or for long base64 a bit of every byte.
func tampered(v any) []any {
	var out []any
	switch x := v.(type) {
	case json.Number:
		out = append(out, json.Number(x.String()+"1"), json.Number("0"), json.Number("2"), json.Number("-1"))
	case string:
		out = append(out, x+"A", "")
		if raw, err := base64.StdEncoding.DecodeString(x); err == nil && len(x) != 64 {
			for i := range raw {
				raw[i] ^= 1 << (i % 8)
				out = append(out, base64.StdEncoding.EncodeToString(raw))
				raw[i] ^= 1 << (i % 8)
			}
		}
		if len(x) > 200 {
			break
		}
		for i := range x {
			b := []byte(x)
			b[i] ^= 1
			out = append(out, string(b))
		}
	}
	return out
}

func TestEveryChangedValueIsRefused(t *testing.T) {
	c, r := sealed(t)
	everyValue(t, c, r, "")
}

// everyValue changes each value of a receipt under a path in many ways.
func everyValue(t *testing.T, c *chain, r *receipt.Receipt, under string) {
	t.Helper()
	trust := c.trust()
	original := text(t, r)
	dec := json.NewDecoder(bytes.NewReader(original))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	// Members of a map marshal in another order than the struct's, so text is rebuilt through the struct.
	verify := func() (bool, error) {
		b, err := json.Marshal(doc)
		if err != nil {
			return false, err
		}
		var re receipt.Receipt
		if json.Unmarshal(b, &re) != nil {
			return false, nil // not even of the types
		}
		ok := receipt.Verify(&re, trust, nil).Valid()
		if ok { // a second spelling of the same values is Parse's to refuse
			parsed, err := re.Encode()
			return err != nil || bytes.Equal(parsed, original) && sameText(b, original), nil
		}
		return false, nil
	}
	if ok, err := verify(); !ok || err != nil {
		t.Fatalf("untouched: %v %v", ok, err)
	}
	n := 0
	leaves(doc, "", nil, func(path string, v any, set func(any)) {
		if !strings.HasPrefix(path, under) {
			return
		}
		for i, other := range tampered(v) {
			if other == v || testing.Short() && i%97 != 0 {
				continue
			}
			set(other)
			if ok, err := verify(); ok || err != nil {
				t.Errorf("%s: %.60q instead of %.60q is accepted (%v)", path, other, v, err)
			}
			set(v)
			n++
		}
	})
	t.Logf("%d changes refused", n)
}

// sameText reports whether two documents have the same values, spelled alike.
func sameText(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// On the text itself: every byte that is not white space, with each of its bits flipped.
func TestEveryChangedByteIsRefused(t *testing.T) {
	c, r := sealed(t)
	var b bytes.Buffer
	if err := json.Compact(&b, text(t, r)); err != nil {
		t.Fatal(err)
	}
	raw, trust := b.Bytes(), c.trust()
	step := 7
	if testing.Short() {
		step = 101
	}
	for i := 0; i < len(raw); i += step {
		raw[i] ^= 1 << (i % 8)
		if _, report := receipt.VerifyText(raw, trust, nil); report.Valid() {
			t.Errorf("byte %d changed to %q: accepted", i, raw[i])
		}
		raw[i] ^= 1 << (i % 8)
	}
}

func TestMembersMustStandInTheirForm(t *testing.T) {
	_, r := sealed(t)
	good := string(text(t, r))
	for name, bad := range map[string]string{
		"unknown member":   strings.Replace(good, `"version": 1`, `"version": 1, "extra": 1`, 1),
		"repeated member":  strings.Replace(good, `"version": 1`, `"version": 1, "version": 1`, 1),
		"other case":       strings.Replace(good, `"version"`, `"Version"`, 1),
		"missing member":   strings.Replace(good, `"handovers": [],`, ``, 1),
		"null":             strings.Replace(good, `"handovers": []`, `"handovers": null`, 1),
		"second document":  good + good,
		"escaped spelling": strings.Replace(good, `"devnet"`, `"\u0064evnet"`, 1),
	} {
		if bad == good {
			t.Fatalf("%s: nothing replaced", name)
		}
		if _, err := receipt.Parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := receipt.Parse(make([]byte, receipt.MaxReceiptBytes+1)); err == nil {
		t.Error("oversized: accepted")
	}
}

func TestWhatCannotBeCheckedIsNotValid(t *testing.T) {
	_, r := sealed(t)
	other := newChain(t)
	other.genesis.Name = "testnet"
	report := receipt.Verify(r, other.trust(), nil)
	if report.Valid() || report.Steps[0].Status != receipt.Failed {
		t.Errorf("receipt of another chain: %+v", report.Steps)
	}
	for _, s := range report.Steps[1:] {
		if s.Status == receipt.OK {
			t.Errorf("%s is ok after the receipt could not be read", s.Name)
		}
	}
	if (&receipt.Report{}).Valid() {
		t.Error("an empty report is valid")
	}
}

func TestTrustFileOfOtherValidatorsRefuses(t *testing.T) {
	c, r := sealed(t)
	trust := c.trust()
	trust.Validators[3].Weight = 7
	if receipt.Verify(r, trust, nil).Valid() {
		t.Error("accepted under another validator set")
	}
	trust = c.trust()
	trust.Checkpoint.Epoch = 1
	if receipt.Verify(r, trust, nil).Valid() {
		t.Error("accepted under another epoch")
	}
	trust = c.trust()
	trust.Checkpoint.Height = 1
	if receipt.Verify(r, trust, nil).Valid() {
		t.Error("accepted against its checkpoint")
	}
}

func TestOutputsAtHandMustBeTheSealedOnes(t *testing.T) {
	c, r := sealed(t)
	r.Outputs = []receipt.Archived{}
	if rep := receipt.Verify(r, c.trust(), nil); !rep.Valid() || rep.Steps[3].Status != receipt.NotChecked {
		t.Errorf("without outputs: %+v", rep.Steps[3])
	}
	for name, outputs := range map[string]map[string][]byte{
		"changed": {"stdout": []byte("4\n")}, "unknown": {"other": {}}, "longer": {"stderr": {0}},
	} {
		if receipt.Verify(r, c.trust(), outputs).Valid() {
			t.Errorf("%s output: accepted", name)
		}
	}
}

func TestInclusionLeadsToTheRootForEveryShape(t *testing.T) {
	for n := 1; n <= 17; n++ {
		var events [][]byte
		for i := range n {
			events = append(events, []byte{byte(i)})
		}
		for i := range n {
			in := receipt.NewInclusion(events, i)
			if got := receipt.RootOf(&in); got != merkle.Root(events) {
				t.Errorf("event %d of %d: proof leads elsewhere", i, n)
			}
		}
	}
}
