package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"testing"
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
		"0100000000000000000000000000000000000000000000000000000000000080", // not canonical
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // not canonical
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
		if b.Verify() != Verify(PublicKey(k), msg, Signature(sig)) {
			t.Fatal("alone and in a batch the verdict differs")
		}
	})
}
