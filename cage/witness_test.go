package cage_test

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// strict is a spec of the strict mode, with an input of each place.
func strict(t testing.TB) (cage.Spec, *cage.Policy) {
	t.Helper()
	policy, ok := cage.PolicyNamed("strict-determinism")
	if !ok {
		t.Fatal("no policy strict-determinism")
	}
	return cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeStrict, Image: digest.Of([]byte("root")),
		Argv: []string{"sh", "-c", "true"}, Env: []string{"A=1", "TZ=Asia/Tokyo"}, Stdin: []byte("in"),
		Inputs: []cage.Input{
			{Path: "d/a", Digest: digest.Of([]byte("a")), Bytes: 1},
			{Path: "d/a", Digest: digest.Of([]byte("a")), Bytes: 1, Place: cage.PlaceWork, Exec: true},
		},
		Seed: digest.Of([]byte("seed")), EpochNs: 1_700_000_000_000_000_000, Limits: cage.DefaultLimits(),
		CPUClass: cage.CPUx86_64v2, Policy: policy.Digest(), Workdir: cage.DefaultWorkdir, Outs: []string{"a", "b"},
	}, policy
}

// sent is an event as the tracer sends it.
type sent struct {
	kind    cage.EventKind
	tid     uint32
	payload []byte
}

// payload puts numbers and a text together as the tracer does.
func payload(text string, numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, text...)
}

// someEvents are n events of all kinds, each unlike the others.
func someEvents(rng *rand.Rand, n int) []sent {
	list := make([]sent, n)
	for i := range list {
		tid, path := uint32(2+rng.Intn(4)), fmt.Sprintf("/work/%d", i)
		switch i % 8 {
		case 0:
			list[i] = sent{cage.EventOpen, tid, payload(path, rng.Uint64()&0x2ff, uint64(3+rng.Intn(5)))}
		case 1:
			list[i] = sent{cage.EventWrite, tid, payload(path, uint64(1+rng.Intn(2)))}
		case 2:
			list[i] = sent{cage.EventRandom, tid, payload("", uint64(i), 1)}
		case 3:
			list[i] = sent{cage.EventClone, tid, payload("", 0x10000, uint64(i))}
		case 4:
			list[i] = sent{cage.EventSignal, tid, payload("", uint64(i))}
		case 5:
			list[i] = sent{cage.EventChange, tid, payload(path+"\x00/work/other", 82, 0)}
		case 6:
			list[i] = sent{cage.EventExec, tid, []byte("/bin/sh\x00sh\x00" + path + "\x00")}
		case 7:
			list[i] = sent{cage.EventExit, tid, payload("", uint64(i)<<8)}
		}
	}
	return list
}

func result() cage.Result {
	return cage.Result{ExitCode: 3, Outputs: []cage.Output{
		{Name: "stdout", Digest: digest.Of([]byte("out")), Bytes: 3}, {Name: "stderr", Digest: digest.Of(nil)},
		{Name: "out/a/x", Digest: digest.Of([]byte("x")), Bytes: 1},
	}}
}

// record makes a recording of a run of spec that met the events.
func record(t testing.TB, spec cage.Spec, policy *cage.Policy, events []sent) *cage.Recording {
	t.Helper()
	rec := new(cage.Recording)
	r := cage.NewRecorder(&spec, policy, rec)
	for _, e := range events {
		if err := r.Record(e.kind, e.tid, e.payload); err != nil {
			t.Fatal(err)
		}
	}
	res := result()
	r.Finish(&res, cage.Totals{Calls: 10, VirtualNs: 20, Spawned: 1})
	if rec.Result.Witness != res.Witness {
		t.Fatal("the recording has another witness than the result")
	}
	return rec
}

// TestWitnessIsAsDefined makes the witness once more with nothing but hashes, for runs that end around checkpoints.
func TestWitnessIsAsDefined(t *testing.T) {
	spec, policy := strict(t)
	all := someEvents(rand.New(rand.NewSource(1)), 3*cage.CheckpointEvery+1)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 2048, 3*1024 - 1, 3*1024 + 1} {
		rec := record(t, spec, policy, all[:n])

		h0 := digest.Sum("docklock/h0/1", []byte{1}, []byte("x86_64"), ofSpec(&spec))
		h, checkpoints := h0, [][]byte{}
		for i, e := range all[:n] {
			p := e.payload
			if e.kind == cage.EventWrite {
				sum := digest.Of(p[8:])
				p = append(payload("", binary.LittleEndian.Uint64(p), uint64(len(p)-8)), sum[:]...)
			}
			h = digest.Sum("docklock/event/1", h[:], be32(uint32(e.kind), e.tid), p)
			if (i+1)%1024 == 0 {
				checkpoints = append(checkpoints, append([]byte(nil), h[:]...))
			}
		}
		root := merkle.Root(checkpoints)
		want := digest.Sum("docklock/witness/strict/1", h0[:], be32(3), nil, canon.Must(rec.Result.Outputs),
			be32(0, uint32(n)), h[:], root[:])
		if rec.Result.Witness != want {
			t.Errorf("%d events: the witness is not as defined", n)
		}
		if rec.Count != uint64(n) || rec.End != h || len(rec.Checkpoints) != 32*(n/1024) || rec.Kept() != uint64(n) {
			t.Errorf("%d events: the recording has %d, %d of them kept, and %d bytes of checkpoints", n, rec.Count, rec.Kept(), len(rec.Checkpoints))
		}
	}
}

func ofSpec(s *cage.Spec) []byte {
	d := digest.Sum("docklock/spec/1", canon.Must(s))
	return d[:]
}

func be32(list ...uint32) []byte {
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// TestEveryChangeOfAnEventChangesTheWitness also keeps the buffer of the events, as an engine does.
func TestEveryChangeOfAnEventChangesTheWitness(t *testing.T) {
	spec, policy := strict(t)
	rng := rand.New(rand.NewSource(2))
	events := someEvents(rng, 40)
	seen := map[digest.Digest]string{}
	try := func(what string, list []sent) {
		t.Helper()
		buf := make([]byte, 1<<10)
		r := cage.NewRecorder(&spec, policy, nil)
		for _, e := range list {
			n := copy(buf, e.payload)
			if err := r.Record(e.kind, e.tid, buf[:n]); err != nil {
				t.Fatal(err)
			}
		}
		res := result()
		r.Finish(&res, cage.Totals{})
		if other, ok := seen[res.Witness]; ok {
			t.Errorf("%s and %s have one witness", what, other)
		}
		seen[res.Witness] = what
	}
	try("as is", events)
	if w := record(t, spec, policy, events).Result.Witness; seen[w] != "as is" {
		t.Error("the witness depends on whether a recording is kept")
	}
	try("one less", events[:39])
	for i := range events {
		list := append([]sent(nil), events...)
		list[i].tid++
		try(fmt.Sprintf("thread of event %d", i), list)
		list[i] = events[i]
		list[i].payload = append([]byte(nil), list[i].payload...)
		list[i].payload[len(list[i].payload)-2] ^= 1
		try(fmt.Sprintf("payload of event %d", i), list)
		if i > 0 {
			list = append([]sent(nil), events...)
			list[i-1], list[i] = list[i], list[i-1]
			try(fmt.Sprintf("events %d and %d exchanged", i-1, i), list)
		}
	}
}

func TestRelaxedWitnessLeavesEventsOut(t *testing.T) {
	spec, _ := strict(t)
	policy, ok := cage.PolicyNamed("relaxed")
	if !ok {
		t.Fatal("no policy relaxed")
	}
	spec.Mode, spec.Policy = cage.ModeRelaxed, policy.Digest()
	events := someEvents(rand.New(rand.NewSource(3)), 2000)
	a, b := record(t, spec, policy, events), record(t, spec, policy, events[:1500])
	if a.Result.Witness != b.Result.Witness {
		t.Error("the order of the machine's threads got into the witness")
	}
	if d, differ := cage.Compare(a, b); differ {
		t.Errorf("runs that need not agree differ: %s", d)
	}
	for _, r := range []*cage.Recording{a, b} {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestMalformedEventsAreRefused(t *testing.T) {
	for name, e := range map[string]sent{
		"no kind":               {0, 2, nil},
		"reserved kind":         {cage.EventRead, 2, payload("", 1)},
		"unknown kind":          {1 << 31, 2, nil},
		"exec of nothing":       {cage.EventExec, 2, []byte{0}},
		"exec without end":      {cage.EventExec, 2, []byte("/bin/sh")},
		"open without result":   {cage.EventOpen, 2, payload("", 1)},
		"open of two paths":     {cage.EventOpen, 2, payload("a\x00b", 1, 2)},
		"write to a file":       {cage.EventWrite, 2, payload("text", 3)},
		"write without number":  {cage.EventWrite, 2, []byte("text")},
		"random with a tail":    {cage.EventRandom, 2, payload("x", 1, 2)},
		"signal without number": {cage.EventSignal, 2, nil},
		"change without a path": {cage.EventChange, 2, payload("/a", 1, 2)},
		"change of three paths": {cage.EventChange, 2, payload("/a\x00/b\x00/c", 1, 2)},
		"too long":              {cage.EventExec, 2, append(make([]byte, 0), append(payload(string(make([]byte, 1<<20))), 'a', 0)...)},
	} {
		if _, err := cage.NewEvent(e.kind, e.tid, e.payload); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
