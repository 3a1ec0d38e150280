package cage_test

import (
	"bytes"
	"math/rand"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

func TestRecordingIsReadBack(t *testing.T) {
	spec, policy := strict(t)
	events := someEvents(rand.New(rand.NewSource(1)), 2100)
	for _, n := range []int{0, 1, 1024, 2100} {
		rec := record(t, spec, policy, events[:n])
		rec.Start = "the program is missing"
		rec.Hints = []cage.Hint{{Name: "/in/d/a", Path: "/data/a"}, {Name: "root", Path: "/"}}
		raw, err := rec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := cage.DecodeRecording(raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%d events: another spelling, %v", n, err)
		}
		if d, differ := cage.Compare(rec, back); differ {
			t.Errorf("%d events: read back with a difference: %s", n, d)
		}
		if back.PolicyName() != "strict-determinism" {
			t.Errorf("policy %q", back.PolicyName())
		}
		if _, err := cage.DecodeRecording(append(raw, 0)); err == nil {
			t.Error("a trailing byte was accepted")
		}
	}
}

func TestSealedRunsHaveRecordingsToo(t *testing.T) {
	spec := good()
	policy := cage.Sealed()
	rec, res := new(cage.Recording), result()
	spec.Limits.OutputBytes = 100
	cage.NewRecorder(&spec, policy, rec).Finish(&res, cage.Totals{})
	raw, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cage.DecodeRecording(raw); err != nil {
		t.Fatal(err)
	}
	want := result()
	want.Finish(&spec)
	if res.Witness != want.Witness {
		t.Error("the recorder gives a sealed run another witness")
	}
}

func TestContradictingRecordingIsRefused(t *testing.T) {
	spec, policy := strict(t)
	sealed := cage.Sealed()
	events := someEvents(rand.New(rand.NewSource(4)), 2100)
	for name, spoil := range map[string]func(*cage.Recording){
		"version":               func(r *cage.Recording) { r.Version++ },
		"spec":                  func(r *cage.Recording) { r.Spec.Argv = nil },
		"seed":                  func(r *cage.Recording) { r.Spec.Seed[0]++ },
		"no policy":             func(r *cage.Recording) { r.Policy = nil },
		"another policy":        func(r *cage.Recording) { r.Policy = sealed.Marshal() },
		"another policy's spec": func(r *cage.Recording) { r.Policy, r.Spec.Policy = sealed.Marshal(), sealed.Digest() },
		"policy respelled":      func(r *cage.Recording) { r.Policy = append(r.Policy, '\n') },
		"exit code":             func(r *cage.Recording) { r.Result.ExitCode++ },
		"exit code no program":  func(r *cage.Recording) { r.Result.ExitCode = 256 },
		"killed":                func(r *cage.Recording) { r.Result.Killed = cage.KilledTime },
		"killed by what":        func(r *cage.Recording) { r.Result.Killed = "boredom" },
		"output":                func(r *cage.Recording) { r.Result.Outputs[0].Bytes++ },
		"output too large":      func(r *cage.Recording) { r.Result.Outputs[0].Bytes = 1 << 62 },
		"output missing":        func(r *cage.Recording) { r.Result.Outputs = r.Result.Outputs[:2] },
		"output upwards":        func(r *cage.Recording) { r.Result.Outputs[0].Name = "out/../x" },
		"outputs unsorted": func(r *cage.Recording) {
			o := r.Result.Outputs
			o[0], o[1] = o[1], o[0]
		},
		"witness":              func(r *cage.Recording) { r.Result.Witness[0]++ },
		"count":                func(r *cage.Recording) { r.Count++ },
		"count less":           func(r *cage.Recording) { r.Count-- },
		"end":                  func(r *cage.Recording) { r.End[0]++ },
		"checkpoint":           func(r *cage.Recording) { r.Checkpoints[40]++ },
		"checkpoint missing":   func(r *cage.Recording) { r.Checkpoints = r.Checkpoints[:32] },
		"event":                func(r *cage.Recording) { r.Stretches[1][7].Tid++ },
		"event of last":        func(r *cage.Recording) { r.Stretches[2][7].Tid++ },
		"event malformed":      func(r *cage.Recording) { r.Stretches[2][7].Kind = 0 },
		"event more":           func(r *cage.Recording) { r.Stretches[2] = append(r.Stretches[2], r.Stretches[2][0]) },
		"empty stretch":        func(r *cage.Recording) { r.Stretches = append(r.Stretches, nil) },
		"short stretch":        func(r *cage.Recording) { r.Stretches[0] = r.Stretches[0][:1023] },
		"endless virtual time": func(r *cage.Recording) { r.Totals.VirtualNs = 1 << 63 },
		"hints unsorted":       func(r *cage.Recording) { r.Hints = []cage.Hint{{Name: "b"}, {Name: "a"}} },
		"long hint":            func(r *cage.Recording) { r.Hints = []cage.Hint{{Path: strings.Repeat("a", 4097)}} },
		"long start":           func(r *cage.Recording) { r.Start = strings.Repeat("a", 4097) },
	} {
		rec := record(t, spec, policy, events)
		if err := rec.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(rec)
		if rec.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := rec.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
		if _, err := cage.DecodeRecording(canon.Must(rec)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// TestRecordingKeepsNoMoreThanItHasRoomFor fills the room for payloads, which is the first to be full here.
func TestRecordingKeepsNoMoreThanItHasRoomFor(t *testing.T) {
	spec, policy := strict(t)
	big := sent{cage.EventExec, 2, append(bytes.Repeat([]byte("a"), cage.MaxEventBytes-1), 0)}
	var events []sent
	for range cage.MaxRecordedBytes/cage.MaxEventBytes + 2 {
		events = append(events, big)
	}
	events = append(events, sent{cage.EventExit, 2, payload("", 0)})
	rec := record(t, spec, policy, events)
	if kept := rec.Kept(); kept != cage.MaxRecordedBytes/cage.MaxEventBytes || rec.Count != uint64(len(events)) {
		t.Errorf("%d of %d events are kept", kept, rec.Count)
	}
	raw, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cage.DecodeRecording(raw); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeRecording(f *testing.F) {
	spec, policy := strict(f)
	events := someEvents(rand.New(rand.NewSource(5)), 1030)
	for _, n := range []int{0, 9, 1030} {
		rec := record(f, spec, policy, events[:n])
		rec.Hints = []cage.Hint{{Name: "root", Path: "/"}}
		f.Add(canon.Must(rec))
	}
	other := record(f, spec, policy, events[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := cage.DecodeRecording(raw)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("another spelling, %v", err)
		}
		if d, differ := cage.Compare(r, other); differ == (d.String() == "") {
			t.Fatalf("differ %v, and says %q", differ, d)
		}
		if d, differ := cage.Compare(r, r); differ {
			t.Fatalf("it differs from itself: %s", d)
		}
	})
}

// FuzzEvent looks for events that cannot be told, or whose words depend on what is not in them.
func FuzzEvent(f *testing.F) {
	for _, e := range someEvents(rand.New(rand.NewSource(6)), 16) {
		f.Add(uint32(e.kind), e.tid, e.payload)
	}
	f.Fuzz(func(t *testing.T, kind, tid uint32, p []byte) {
		before := digest.Of(p)
		e, err := cage.NewEvent(cage.EventKind(kind), tid, p)
		if words := e.String(); words == "" || strings.ContainsAny(words, "\n\x00") {
			t.Errorf("words %q", words)
		}
		if err == nil && e.Check() != nil || digest.Of(p) != before {
			t.Error("an event that was made is refused, or what it was made of has changed")
		}
	})
}
