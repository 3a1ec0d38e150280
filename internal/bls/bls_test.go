package bls

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
)

func key(i byte) PrivateKey { return FromSeed(bytes.Repeat([]byte{i}, 32), "test") }

func decoded(t testing.TB, k PrivateKey) *Key {
	t.Helper()
	d, err := k.Public().Decode()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fromScalar is the key of a given scalar, for what KeyGen would not give.
func fromScalar(be []byte) PrivateKey { return PrivateKey{new(blst.SecretKey).Deserialize(be)} }

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The ciphersuite is the one that Ethereum's consensus layer signs with; this is a case of its public test vectors.
func TestSignatureIsTheCiphersuites(t *testing.T) {
	k := fromScalar(mustHex(t, "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3"))
	if got := k.Public().String(); got != "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a" {
		t.Errorf("public key %s", got)
	}
	s := k.Sign(bytes.Repeat([]byte{0x56}, 32))
	want := "882730e5d03f6b42c3abc26d3372625034e1d871b65a8a6b900a56dae22da98abbe1b68f85e49fe7652a55ec3d0591c20767677e33e5cbb1207315c41a9ac03be39c2e7668edc043d6cb1d9fd93033caa8a1c5b0e84bedaeb6c64972503a43eb"
	if got, _ := s.MarshalText(); string(got) != want {
		t.Errorf("signature %s", got)
	}
}

func TestSignatureHoldsForItsKeyAndMessageOnly(t *testing.T) {
	k, msg := key(1), []byte("message")
	s := k.Sign(msg)
	if !VerifyOne(decoded(t, k), msg, s) {
		t.Fatal("a good signature is refused")
	}
	if VerifyOne(decoded(t, key(2)), msg, s) || VerifyOne(decoded(t, k), []byte("massage"), s) {
		t.Fatal("another key or message is accepted")
	}
	for i := range s {
		bad := s
		bad[i] ^= 1 << (i % 8)
		if VerifyOne(decoded(t, k), msg, bad) {
			t.Fatalf("byte %d changed: accepted", i)
		}
	}
	if p := k.Prove(); p.Proof == k.Sign(p.Key[:]) {
		t.Fatal("a proof of possession is a signature of the key as a message")
	}
}

func TestSeedsAndPurposesGiveOtherKeys(t *testing.T) {
	a := FromSeed(bytes.Repeat([]byte{1}, 32), "a")
	if a.Public() == FromSeed(bytes.Repeat([]byte{1}, 32), "b").Public() || a.Public() == FromSeed(bytes.Repeat([]byte{2}, 32), "a").Public() {
		t.Fatal("two keys are the same")
	}
	if a.Public() != FromSeed(bytes.Repeat([]byte{1}, 32), "a").Public() || a.IsZero() || !(PrivateKey{}).IsZero() {
		t.Fatal("a seed does not give its key again")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("a short seed made a key")
		}
	}()
	FromSeed(make([]byte, 31), "a")
}

// outside are points of the curves that are not in the groups: decoders take them for points, and only the subgroup check
// does not. They are found by trying x coordinates.
func outside(t *testing.T) (PublicKey, Signature) {
	t.Helper()
	var p PublicKey
	var s Signature
	for i := 0; ; i++ {
		p = PublicKey{0: 0x80, 47: byte(i)}
		var q blst.P1Affine
		if q.Uncompress(p[:]) != nil && !q.InG1() {
			break
		}
	}
	for i := 0; ; i++ {
		s = Signature{0: 0x80, 95: byte(i)}
		var q blst.P2Affine
		if q.Uncompress(s[:]) != nil && !q.InG2() {
			return p, s
		}
	}
}

func TestPointsOutsideTheGroupAreRefused(t *testing.T) {
	p, s := outside(t)
	good := key(1).Sign([]byte("m"))
	spelling := good // the same point with an unused combination of flags, and a coordinate not reduced
	spelling[0] &^= 0x80
	for name, s := range map[string]Signature{
		"outside of the subgroup": s, "infinity": {0: 0xc0}, "nothing": {}, "not compressed": spelling,
		"infinity with a sign": {0: 0xe0}, "infinity with a coordinate": {0: 0xc0, 95: 1}, "no point": Signature(bytes.Repeat([]byte{0xff}, 96)),
	} {
		if VerifyOne(decoded(t, key(1)), []byte("m"), s) {
			t.Errorf("signature %s: accepted", name)
		}
		if _, ok := Add([]Signature{good, s}); ok {
			t.Errorf("signature %s: summed", name)
		}
	}
	for name, p := range map[string]PublicKey{
		"outside of the subgroup": p, "infinity": {0: 0xc0}, "nothing": {}, "infinity with a sign": {0: 0xe0},
		"no point": PublicKey(bytes.Repeat([]byte{0xff}, 48)),
	} {
		if _, err := p.Decode(); err == nil {
			t.Errorf("public key %s: decoded", name)
		}
	}
}

func TestProofsOfPossessionStopRogueKeys(t *testing.T) {
	var list []Proven
	for i := range byte(5) {
		list = append(list, key(i).Prove())
	}
	keys, err := VerifyProofs(list)
	if err != nil || len(keys) != 5 || keys[3].Public() != list[3].Key {
		t.Fatalf("good proofs: %v", err)
	}
	// The rogue key: one's own less another's, so that their sum signs whatever one likes.
	mine, other := key(9), decoded(t, key(0))
	var p blst.P1
	p.FromAffine(new(blst.P1Affine).From(mine.sk))
	p.SubAssign(&other.point)
	rogue := PublicKey(p.ToAffine().Compress())
	d, err := rogue.Decode()
	if err != nil {
		t.Fatal(err)
	}
	forged := Claim{Parts: []Part{{Keys: []*Key{d, other}, Msg: []byte("m")}}, Sig: mine.Sign([]byte("m"))}
	if !Verify([]Claim{forged}) {
		t.Fatal("the rogue key does not fool the sum, so this test shows nothing")
	}
	for name, bad := range map[string]Proven{
		"a rogue key with one's own proof": {Key: rogue, Proof: mine.Prove().Proof},
		"another's proof":                  {Key: list[1].Key, Proof: list[2].Proof},
		"a signature for a proof":          {Key: list[1].Key, Proof: key(1).Sign(list[1].Key[:])},
		"no proof":                         {Key: list[1].Key},
	} {
		if _, err := VerifyProofs(append(append([]Proven(nil), list[2:]...), bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// claimsOf are claims of several kinds, all good: alone, of many keys, and of several messages.
func claimsOf(t testing.TB) []Claim {
	t.Helper()
	one := func(msg string, who ...byte) (Part, []Signature) {
		p := Part{Msg: []byte(msg)}
		var sigs []Signature
		for _, i := range who {
			p.Keys = append(p.Keys, decoded(t, key(i)))
			sigs = append(sigs, key(i).Sign(p.Msg))
		}
		return p, sigs
	}
	sum := func(s ...[]Signature) Signature {
		var all []Signature
		for _, l := range s {
			all = append(all, l...)
		}
		out, ok := Add(all)
		if !ok {
			t.Fatal("signatures do not add up")
		}
		return out
	}
	a, sa := one("a", 1)
	b, sb := one("a", 2)
	c, sc := one("a", 1, 2, 3)
	d, sd := one("b", 1, 4)
	return []Claim{
		{[]Part{a}, sa[0]}, {[]Part{b}, sb[0]}, {[]Part{c}, sum(sc)}, {[]Part{d}, sum(sd)}, {[]Part{c, d}, sum(sc, sd)},
	}
}

func TestClaimsHoldAloneAndTogether(t *testing.T) {
	claims := claimsOf(t)
	for i := range claims {
		if !Verify(claims[i : i+1]) {
			t.Errorf("claim %d alone: refused", i)
		}
		if !Verify(claims[:i+1]) {
			t.Errorf("claims 0 to %d: refused", i)
		}
	}
	if !Verify(nil) {
		t.Error("no claims: refused")
	}
	for i := range claims {
		bad := append([]Claim(nil), claims...)
		bad[i].Sig = key(77).Sign([]byte("a"))
		if Verify(bad) || Verify(bad[i:i+1]) {
			t.Errorf("claim %d is false: accepted", i)
		}
		bad[i] = claims[i]
		bad[i].Parts = nil
		if Verify(bad) {
			t.Errorf("claim %d has no parts: accepted", i)
		}
		bad[i].Parts = []Part{{Msg: []byte("a")}}
		if Verify(bad) {
			t.Errorf("claim %d has no keys: accepted", i)
		}
	}
}

// Two signers may shift their signatures by a point and its opposite: the sum is good, and neither signature is. A batch
// must not take them for good, since each may come to stand in a certificate without the other.
func TestErrorsInABatchDoNotCancelOut(t *testing.T) {
	claims := claimsOf(t)[:2]
	var shift blst.P2Affine
	other := key(50).Sign([]byte("shift"))
	if !other.decode(&shift) {
		t.Fatal("no point")
	}
	for i := range claims {
		var s blst.P2Affine
		if !claims[i].Sig.decode(&s) {
			t.Fatal("no point")
		}
		var p blst.P2
		p.FromAffine(&s)
		if i == 0 {
			p.AddAssign(&shift)
		} else {
			p.SubAssign(&shift)
		}
		claims[i].Sig = Signature(p.ToAffine().Compress())
	}
	sum, ok := Add([]Signature{claims[0].Sig, claims[1].Sig})
	both := Claim{Parts: []Part{{Keys: []*Key{claims[0].Parts[0].Keys[0], claims[1].Parts[0].Keys[0]}, Msg: []byte("a")}}, Sig: sum}
	if !ok || !Verify([]Claim{both}) {
		t.Fatal("the errors do not cancel out in the sum, so this test shows nothing")
	}
	if Verify(claims) {
		t.Fatal("a batch of two bad signatures is accepted")
	}
}

// A key and its opposite sum to nothing, which signs everything.
func TestKeysThatCancelOutSignNothing(t *testing.T) {
	one := make([]byte, 32)
	one[31] = 1
	a := fromScalar(one)
	b := fromScalar(mustHex(t, "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000")) // the order less one
	keys, err := VerifyProofs([]Proven{a.Prove(), b.Prove()})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Add([]Signature{a.Sign([]byte("m")), b.Sign([]byte("m"))}); ok {
		t.Error("signatures that cancel out have a sum")
	}
	for _, s := range []Signature{{0: 0xc0}, a.Sign([]byte("m"))} {
		if Verify([]Claim{{Parts: []Part{{Keys: keys, Msg: []byte("m")}}, Sig: s}}) {
			t.Error("keys that cancel out signed")
		}
	}
}

func TestTextHasOneSpelling(t *testing.T) {
	p := key(1).Prove()
	text, _ := p.Key.MarshalText()
	var q PublicKey
	if err := q.UnmarshalText(text); err != nil || q != p.Key {
		t.Fatalf("%v", err)
	}
	for _, bad := range [][]byte{nil, text[1:], append(text[:len(text):len(text)], '0'), bytes.ToUpper(text), append([]byte("zz"), text[2:]...)} {
		if err := q.UnmarshalText(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	text, _ = p.Proof.MarshalText()
	var s Signature
	if err := s.UnmarshalText(text); err != nil || s != p.Proof {
		t.Fatalf("%v", err)
	}
}

// Whatever is taken for a signature or key is spelt in its one way.
func FuzzPoints(f *testing.F) {
	p := key(1).Prove()
	f.Add(p.Key[:], p.Proof[:])
	f.Add(make([]byte, 48), make([]byte, 96))
	f.Add(append([]byte{0xc0}, make([]byte, 47)...), append([]byte{0xc0}, make([]byte, 95)...))
	f.Fuzz(func(t *testing.T, pk, sig []byte) {
		if len(pk) == PublicKeySize {
			if k, err := PublicKey(pk).Decode(); err == nil && !bytes.Equal(k.point.Compress(), pk) {
				t.Fatal("a key in another spelling is accepted")
			}
		}
		if len(sig) == SignatureSize {
			if sum, ok := Add([]Signature{Signature(sig)}); ok && !bytes.Equal(sum[:], sig) {
				t.Fatal("a signature in another spelling is accepted")
			}
		}
	})
}

// BenchmarkVerify is what n signatures cost: each in turn, in one batch, and summed.
func BenchmarkVerify(b *testing.B) {
	msg := []byte("message")
	for _, n := range []int{1, 3, 11, 67} {
		part := Part{Msg: msg}
		var sigs []Signature
		var apart []Claim
		var list []Proven
		for i := range n {
			k := key(byte(i))
			list = append(list, k.Prove())
			part.Keys = append(part.Keys, decoded(b, k))
			sigs = append(sigs, k.Sign(msg))
			apart = append(apart, Claim{Parts: []Part{{Keys: part.Keys[i : i+1], Msg: msg}}, Sig: sigs[i]})
		}
		sum, _ := Add(sigs)
		run := func(name string, f func() bool) {
			b.Run(fmt.Sprintf("n=%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					if !f() {
						b.Fatal("refused")
					}
				}
			})
		}
		run("summed", func() bool { return Verify([]Claim{{Parts: []Part{part}, Sig: sum}}) })
		run("batch", func() bool { return Verify(apart) })
		run("add", func() bool { _, ok := Add(sigs); return ok })
		run("proofs", func() bool { _, err := VerifyProofs(list); return err == nil })
	}
	k := key(1)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			k.Sign(msg)
		}
	})
}
