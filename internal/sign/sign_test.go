package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	"filippo.io/edwards25519"
	"github.com/hdevalence/ed25519consensus"
)

func key(i byte) PrivateKey { return FromSeed(bytes.Repeat([]byte{i}, 32)) }

func TestSignatureIsRFC8032(t *testing.T) {
	// RFC 8032 section 7.1, test 2.
	seed, _ := hex.DecodeString("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
	k := FromSeed(seed)
	if got := k.Public().String(); got != "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c" {
		t.Fatalf("public key %s", got)
	}
	want := "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
	s := k.Sign([]byte{0x72})
	if got, _ := s.MarshalText(); string(got) != want {
		t.Fatalf("signature %s", got)
	}
	if !Verify(k.Public(), []byte{0x72}, s) || !VerifyBoth(k.Public(), []byte{0x72}, s) {
		t.Fatal("the signature of the RFC is not accepted")
	}
	if !bytes.Equal(k.Seed(), seed) {
		t.Fatal("the seed is not the one given")
	}
}

func TestVerifyRefusesEveryChange(t *testing.T) {
	k, msg := key(1), []byte("message")
	s := k.Sign(msg)
	for i := range s {
		bad := s
		bad[i] ^= 1
		if Verify(k.Public(), msg, bad) {
			t.Fatalf("changed byte %d of the signature was accepted", i)
		}
	}
	if Verify(k.Public(), []byte("messagf"), s) || Verify(key(2).Public(), msg, s) {
		t.Fatal("another message or key was accepted")
	}
}

// ZIP-215 accepts keys and nonces of small order in any encoding; alone and in a batch the verdict is the same.
func TestBatchAndSingleAgreeOnSmallOrderPoints(t *testing.T) {
	var torsion []PublicKey
	for _, h := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		// Not canonical.
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		var p PublicKey
		if err := p.UnmarshalText([]byte(h)); err != nil {
			t.Fatal(err)
		}
		torsion = append(torsion, p)
	}
	strict := 0
	for _, a := range torsion {
		for _, r := range torsion {
			var s Signature
			copy(s[:32], r[:])
			b := NewBatch()
			b.Add(a, []byte("Zcash"), s)
			b.Add(key(3).Public(), []byte("m"), key(3).Sign([]byte("m")))
			if one, both := Verify(a, []byte("Zcash"), s), b.Verify(); !one || !both {
				t.Errorf("key %s nonce %s: alone %v, in a batch %v; ZIP-215 accepts it", a.Short(), r.Short(), one, both)
			}
			if !ed25519consensus.Verify(a[:], []byte("Zcash"), s[:]) {
				t.Errorf("key %s nonce %s: another implementation of ZIP-215 refuses it", a.Short(), r.Short())
			}
			if ed25519.Verify(a[:], []byte("Zcash"), s[:]) {
				strict++
			}
			if VerifyBoth(a, []byte("Zcash"), s) != ed25519.Verify(a[:], []byte("Zcash"), s[:]) {
				t.Errorf("key %s nonce %s: VerifyBoth is not as strict as RFC 8032", a.Short(), r.Short())
			}
		}
	}
	if strict == len(torsion)*len(torsion) {
		t.Error("the strict verifier refuses nothing here, so this test shows nothing")
	}
}

// TestKeysAndNoncesOfMixedOrder adds points of small order to a key and to a nonce: the cofactor takes them away again,
// alone, in a batch, and in another implementation of ZIP-215.
func TestKeysAndNoncesOfMixedOrder(t *testing.T) {
	torsion, err := new(edwards25519.Point).SetBytes(unhex(t, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("mixed")
	secret, nonce := scalarOf(t, 5), scalarOf(t, 7)
	a, r := new(edwards25519.Point).ScalarBaseMult(secret), new(edwards25519.Point).ScalarBaseMult(nonce)
	for i := range 8 {
		for j := range 8 {
			var p PublicKey
			var s Signature
			copy(p[:], a.Bytes())
			copy(s[:32], r.Bytes())
			wide := challenge(p, msg, s)
			k, err := new(edwards25519.Scalar).SetUniformBytes(wide[:])
			if err != nil {
				t.Fatal(err)
			}
			copy(s[32:], new(edwards25519.Scalar).MultiplyAdd(k, secret, nonce).Bytes())
			batch := NewBatch()
			batch.Add(p, msg, s)
			batch.Add(key(4).Public(), msg, key(4).Sign(msg))
			if !Verify(p, msg, s) || !batch.Verify() || !ed25519consensus.Verify(p[:], msg, s[:]) {
				t.Errorf("key + %d T, nonce + %d T is refused", i, j)
			}
			s[40] ^= 1
			batch = NewBatch()
			batch.Add(p, msg, s)
			batch.Add(p, msg, s)
			if Verify(p, msg, s) || batch.Verify() {
				t.Errorf("key + %d T, nonce + %d T: a false signature is accepted", i, j)
			}
			r.Add(r, torsion)
		}
		a.Add(a, torsion)
	}
}

func TestScalarHasOneSpelling(t *testing.T) {
	k, msg := key(1), []byte("message")
	s := k.Sign(msg)
	// s + the order of the group
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	carry := 0
	for i := range 32 {
		carry += int(s[32+i]) + int(order[i])
		s[32+i] = byte(carry)
		carry >>= 8
	}
	b := NewBatch()
	b.Add(k.Public(), msg, s)
	if Verify(k.Public(), msg, s) || b.Verify() {
		t.Fatal("a scalar above the order was accepted")
	}
}

func scalarOf(t *testing.T, n byte) *edwards25519.Scalar {
	t.Helper()
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(append([]byte{n}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBatchOfManyKeysAndMany crosses the sizes at which the sum is computed by other means.
func TestBatchOfManyKeysAndMany(t *testing.T) {
	for _, n := range []int{1, 2, 60, 190, 260, 600} {
		for _, bad := range []int{-1, 0, n / 2, n - 1} {
			b := NewBatch()
			for i := range n {
				k := key(byte(i % 200))
				msg := []byte{byte(i), byte(i >> 8)}
				s := k.Sign(msg)
				if i == bad {
					msg[0] ^= 1
				}
				b.Add(k.Public(), msg, s)
			}
			if b.Len() != n || b.Verify() != (bad < 0) {
				t.Fatalf("batch of %d with offender %d: wrong verdict", n, bad)
			}
		}
	}
}

func TestBatchFailsWithOneBadSignature(t *testing.T) {
	if !NewBatch().Verify() {
		t.Fatal("the empty batch is invalid")
	}
	for bad := range 6 {
		b := NewBatch()
		for i := range 5 {
			s := key(byte(i)).Sign([]byte("m"))
			if i == bad {
				s[0] ^= 1
			}
			b.Add(key(byte(i)).Public(), []byte("m"), s)
		}
		if b.Verify() != (bad == 5) {
			t.Fatalf("batch with offender %d: wrong verdict", bad)
		}
	}
}

func TestGenerateReadsSeed(t *testing.T) {
	k, err := Generate(bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
	if err != nil || k.Public() != key(9).Public() {
		t.Fatalf("%v", err)
	}
	if _, err := Generate(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Fatal("a short source made a key")
	}
	if !(PrivateKey{}).IsZero() || k.IsZero() {
		t.Fatal("IsZero is wrong")
	}
}

func TestTextHasOneSpelling(t *testing.T) {
	p := key(1).Public()
	text, _ := p.MarshalText()
	var q PublicKey
	if err := q.UnmarshalText(text); err != nil || q != p {
		t.Fatalf("%v", err)
	}
	for _, bad := range [][]byte{nil, text[1:], append(text[:len(text):len(text)], '0'), bytes.ToUpper(text), append([]byte("zz"), text[2:]...)} {
		if err := q.UnmarshalText(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzVerifyAgreesWithBatch(f *testing.F) {
	s := key(1).Sign([]byte("m"))
	p := key(1).Public()
	f.Add(p[:], []byte("m"), s[:])
	f.Add(make([]byte, 32), []byte("m"), make([]byte, 64))
	f.Fuzz(func(t *testing.T, k, msg, sig []byte) {
		if len(k) != 32 || len(sig) != 64 {
			return
		}
		b := NewBatch()
		b.Add(PublicKey(k), msg, Signature(sig))
		one := Verify(PublicKey(k), msg, Signature(sig))
		if b.Verify() != one {
			t.Fatal("alone and in a batch the verdict differs")
		}
		if ed25519consensus.Verify(k, msg, sig) != one {
			t.Fatal("another implementation of ZIP-215 comes to another verdict")
		}
	})
}
