package native

import (
	"bytes"
	"testing"

	"github.com/metanode/metanode/cage"
)

func FuzzDecodePacket(f *testing.F) {
	f.Add((&packet{kind: kindDone, id: 7, errno: 1, stage: "mount"}).encode())
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, packetBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePacket(b)
		if err != nil {
			return
		}
		again, err := decodePacket(p.encode())
		if err != nil {
			t.Fatal(err)
		}
		again.stage, p.stage = "", "" // replaced bytes may no longer fit
		if again != p {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

func TestEveryPolicyCallIsKnown(t *testing.T) {
	for _, cold := range []bool{false, true} {
		if _, err := compile(cage.Sealed(), cold); err != nil {
			t.Error(err)
		}
	}
	p := cage.Sealed()
	p.Calls = append(p.Calls, cage.Call{Name: "no_such_call"})
	if _, err := compile(p, false); err == nil {
		t.Error("a rule that cannot be compiled was left out in silence")
	}
}
