package cage_test

import (
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// otherEvents is list with the event at i made another one.
func otherEvents(list []sent, i int) []sent {
	list = append([]sent(nil), list...)
	list[i].tid += 100
	return list
}

// TestFirstDifferenceIsFoundWhereverItIs plants one at each place of several stretches, followed by nothing but
// differences, and at one place followed by nothing but the same.
func TestFirstDifferenceIsFoundWhereverItIs(t *testing.T) {
	spec, policy := strict(t)
	const n = 2*cage.CheckpointEvery + 5
	events := someEvents(rand.New(rand.NewSource(7)), n)
	a := record(t, spec, policy, events)
	if d, differ := cage.Compare(a, record(t, spec, policy, events)); differ {
		t.Fatalf("the same run twice differs: %s", d)
	}
	for i := range n {
		list := otherEvents(events, i)
		if i%2 == 0 {
			for k := i + 1; k < n; k++ {
				list[k].tid += 100
			}
		}
		d, differ := cage.Compare(a, record(t, spec, policy, list))
		switch {
		case !differ || d.Event == nil:
			t.Fatalf("no difference found, planted at %d", i)
		case d.Event.First != uint64(i) || d.Event.Last != uint64(i) || d.Event.Maybe:
			t.Fatalf("difference found at %d to %d, planted at %d", d.Event.First, d.Event.Last, i)
		case d.Event.A == nil || d.Event.B == nil || d.Event.A.Tid+100 != d.Event.B.Tid:
			t.Fatalf("at %d it shows %v and %v", i, d.Event.A, d.Event.B)
		case (d.Event.Before != nil) != (i > 0) || i > 0 && d.Event.Before.Tid != events[i-1].tid:
			t.Fatalf("at %d it shows %v before", i, d.Event.Before)
		case len(d.Spec)+len(d.Result) > 0:
			t.Fatalf("at %d it also shows %v %v", i, d.Spec, d.Result)
		}
	}
}

func TestRunThatEndsEarlierIsFound(t *testing.T) {
	spec, policy := strict(t)
	events := someEvents(rand.New(rand.NewSource(8)), 2*cage.CheckpointEvery+5)
	a := record(t, spec, policy, events)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 2047, 2048, 2052} {
		b := record(t, spec, policy, events[:n])
		for _, turned := range []bool{false, true} {
			x, y := a, b
			if turned {
				x, y = b, a
			}
			d, _ := cage.Compare(x, y)
			if e := d.Event; e == nil || e.First != uint64(n) || e.Last != uint64(n) || e.AEnded != turned || e.BEnded == turned ||
				(e.A == nil) != turned || (e.B == nil) == turned {
				t.Errorf("ended after %d, turned %v: %+v", n, turned, d.Event)
			}
		}
	}
}

// TestBisectingWithoutEventsFindsTheStretch is what can be known of runs longer than what is kept.
func TestBisectingWithoutEventsFindsTheStretch(t *testing.T) {
	spec, policy := strict(t)
	events := someEvents(rand.New(rand.NewSource(9)), 4*cage.CheckpointEvery+5)
	strip := func(r *cage.Recording, stretches int) *cage.Recording {
		r.Stretches = r.Stretches[:stretches]
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := strip(record(t, spec, policy, events), 2)
	for _, tt := range []struct{ at, kept, first, last int }{
		{at: 700, kept: 1, first: 700, last: 700},
		{at: 1500, kept: 1, first: 1024, last: 2047},
		{at: 1500, kept: 2, first: 1500, last: 1500},
		{at: 3000, kept: 2, first: 2048, last: 3071},
		{at: 3072, kept: 5, first: 3072, last: 4095},
		{at: 4096, kept: 5, first: 4096, last: 4100},
	} {
		d, _ := cage.Compare(a, strip(record(t, spec, policy, otherEvents(events, tt.at)), tt.kept))
		if e := d.Event; e == nil || e.First != uint64(tt.first) || e.Last != uint64(tt.last) || e.Maybe {
			t.Errorf("planted at %d, %d stretches kept: %+v", tt.at, tt.kept, d.Event)
		} else if tt.first != tt.last && !strings.Contains(d.String(), "which are not all kept") {
			t.Errorf("it says %s", d)
		}
	}
	other := spec
	other.Seed[0]++
	d, _ := cage.Compare(a, strip(record(t, other, policy, events), 1))
	if e := d.Event; e == nil || !e.Maybe || e.First != 1024 || e.Last != 4*1024+4 {
		t.Errorf("other spec, same events as far as kept: %+v", d.Event)
	}
	if d, _ := cage.Compare(record(t, spec, policy, events), record(t, other, policy, events)); d.Event != nil || len(d.Spec) != 1 {
		t.Errorf("other spec, same events: %+v", d)
	}
}

// TestEveryFieldOfASpecIsCompared changes one field after the other, by reflection: a new one cannot be forgotten.
func TestEveryFieldOfASpecIsCompared(t *testing.T) {
	spec, policy := strict(t)
	a := record(t, spec, policy, nil)
	spec, _ = strict(t) // shares nothing with a's
	tried := 0
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		try := func(change func()) {
			t.Helper()
			tried++
			change()
			b := *a
			b.Spec = spec
			if d, differ := cage.Compare(a, &b); !differ || len(d.Spec) != 1 || !strings.Contains(d.String(), d.Spec[0].A) {
				t.Errorf("%s: %+v", path, d)
			}
			spec, _ = strict(t)
		}
		switch {
		case v.Type() == reflect.TypeFor[digest.Digest]():
			try(func() { v.Index(0).SetUint(v.Index(0).Uint() ^ 1) })
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.Name != "_" {
					walk(path+"."+f.Name, v.Field(i))
				}
			}
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
			// Whether an entry has gone is another question than whether it was changed.
			try(func() { v.Set(v.Slice(0, v.Len()-1)) })
			for i := range v.Type().Elem().NumField() {
				if f := v.Type().Elem().Field(i); f.Name == "Digest" || f.Name == "Bytes" || f.Name == "Exec" {
					walk(path+"."+f.Name, v.Index(v.Len()-1).Field(i))
				}
			}
		case v.Kind() == reflect.Slice:
			try(func() { v.Set(v.Slice(0, v.Len()-1)) })
		case v.Kind() == reflect.String:
			try(func() { v.SetString(v.String() + "x") })
		case v.Kind() == reflect.Bool:
			try(func() { v.SetBool(!v.Bool()) })
		default:
			try(func() { v.SetUint(v.Uint() + 1) })
		}
	}
	walk("Spec", reflect.ValueOf(&spec).Elem())
	if tried < 25 {
		t.Errorf("only %d fields were tried", tried)
	}
}

func TestResultsAreCompared(t *testing.T) {
	spec, policy := strict(t)
	for want, change := range map[string]func(*cage.Recording){
		"exit code":           func(r *cage.Recording) { r.Result.ExitCode = 1 },
		"ended by the cage":   func(r *cage.Recording) { r.Result.Killed = cage.KilledCalls },
		"output stdout":       func(r *cage.Recording) { r.Result.Outputs[2].Bytes++ },
		"output stderr":       func(r *cage.Recording) { r.Result.Outputs[1].Digest[0]++ },
		"output out/a/x":      func(r *cage.Recording) { r.Result.Outputs = r.Result.Outputs[1:] },
		"system calls":        func(r *cage.Recording) { r.Totals.Calls++ },
		"virtual time":        func(r *cage.Recording) { r.Totals.VirtualNs++ },
		"threads and process": func(r *cage.Recording) { r.Totals.Spawned++ },
		"witness":             func(r *cage.Recording) { r.Result.Witness[0]++ },
	} {
		a, b := record(t, spec, policy, nil), record(t, spec, policy, nil)
		change(b)
		for _, turned := range []bool{false, true} {
			if turned {
				a, b = b, a
			}
			d, differ := cage.Compare(a, b)
			if !differ || len(d.Result) != 1 || !strings.HasPrefix(d.Result[0].What, want) || d.Result[0].A == d.Result[0].B {
				t.Errorf("%s: %+v", want, d)
			}
		}
	}
}

func TestDifferenceInWords(t *testing.T) {
	spec, policy := strict(t)
	other := spec
	other.Seed[31]++
	other.Env = []string{"A=2", "B=new"}
	common := sent{cage.EventOpen, 2, payload("/etc/passwd", 0x80000, 3)}
	a := record(t, spec, policy, []sent{common, {cage.EventRandom, 2, payload("", 16, 1)}, common})
	b := record(t, other, policy, []sent{common, {cage.EventOpen, 3, payload("/etc/shadow", 0, ^uint64(12))}})
	b.Result.ExitCode = 0
	d, _ := cage.Compare(a, b)
	want := `The specs differ: these were not the same run.
  environment variable A
    recorded: "1"
    now:      "2"
  environment variable B
    recorded: none
    now:      "new"
  environment variable TZ
    recorded: "Asia/Tokyo"
    now:      none
  seed
    recorded: ` + spec.Seed.String() + `
    now:      ` + other.Seed.String() + `
The first event that differs is event 2.
  both:     thread 2: open /etc/passwd for reading → 3 (event before)
  recorded: thread 2: take 16 bytes of randomness for getrandom
  now:      thread 3: open /etc/shadow for reading → EACCES
The results differ.
  exit code
    recorded: 3
    now:      0
  events
    recorded: 3
    now:      2
`
	if got := d.Text("recorded", "now"); got != want {
		t.Errorf("it says\n%s", got)
	}

	b = record(t, spec, policy, []sent{{cage.EventOpen, 2, payload("/etc/passwd", 0, 3)}})
	a = record(t, spec, policy, []sent{common})
	d, _ = cage.Compare(a, b)
	if got := d.String(); strings.Count(got, "open /etc/passwd for reading → 3 [") != 2 {
		t.Errorf("a flag without a word is not shown:\n%s", got)
	}
	d, _ = cage.Compare(record(t, spec, policy, nil), a)
	if got := d.String(); !strings.Contains(got, "first:  had ended after 0 events\n  second: thread 2: open") {
		t.Errorf("it says\n%s", got)
	}
	if d, differ := cage.Compare(a, a); differ || d.String() != "" {
		t.Errorf("no difference is told as %q", d)
	}
}

func TestEventsInWords(t *testing.T) {
	no := func(errno uint64) uint64 { return -errno }
	for _, tt := range []struct {
		want string
		sent
	}{
		{"execute /bin/sh as sh -c \"echo hi\" \"\"", sent{cage.EventExec, 2, []byte("/bin/sh\x00sh\x00-c\x00echo hi\x00\x00")}},
		{"execute /bin/sh without arguments", sent{cage.EventExec, 2, []byte("/bin/sh\x00")}},
		{"open /etc/passwd for reading → 3", sent{cage.EventOpen, 2, payload("/etc/passwd", 0x80000, 3)}},
		{"open /etc/hosts for reading → opened", sent{cage.EventOpen, 2, payload("/etc/hosts", 0, cage.Opened)}},
		{"open /x for writing, made if missing, emptied → EROFS", sent{cage.EventOpen, 2, payload("/x", 0x241, no(30))}},
		{"open /x for reading and writing, at its end → 3", sent{cage.EventOpen, 2, payload("/x", 0x402, 3)}},
		{"open /tmp for reading, a folder, no link → 3", sent{cage.EventOpen, 2, payload("/tmp", 0x30000, 3)}},
		{"open /tmp for writing, as a file without a name → EOPNOTSUPP", sent{cage.EventOpen, 2, payload("/tmp", 0x410001, no(95))}},
		{"open / as a place → error 4000", sent{cage.EventOpen, 2, payload("/", 0x200000, no(4000))}},
		{"open \"/a b\\n\" for reading → 3", sent{cage.EventOpen, 2, payload("/a b\n", 0, 3)}},
		{"open \"\" for reading → ENOENT", sent{cage.EventOpen, 2, payload("", 0, no(2))}},
		{"open " + strings.Repeat("ü", 100) + "… for reading → 3", sent{cage.EventOpen, 2, payload(strings.Repeat("ü", 300), 0, 3)}},
		{"write 5 bytes to stdout, sha256 2cf24dba5fb0", sent{cage.EventWrite, 2, payload("hello", 1)}},
		{"write 1 byte to stderr, sha256 ca978112ca1b", sent{cage.EventWrite, 2, payload("a", 2)}},
		{"take 8 bytes of randomness from /dev/urandom", sent{cage.EventRandom, 2, payload("", 8, 2)}},
		{"take 8 bytes of randomness for purpose 99", sent{cage.EventRandom, 2, payload("", 8, 99)}},
		{"start thread 3", sent{cage.EventClone, 2, payload("", 0x3d0f00, 3)}},
		{"start process 3", sent{cage.EventClone, 2, payload("", 17, 3)}},
		{"start process 3 and wait until it executes", sent{cage.EventClone, 2, payload("", 0x4111, 3)}},
		{"receive SIGCHLD", sent{cage.EventSignal, 2, payload("", 17)}},
		{"receive signal 34", sent{cage.EventSignal, 2, payload("", 34)}},
		{"end with exit code 3", sent{cage.EventExit, 2, payload("", 3<<8)}},
		{"end by SIGKILL", sent{cage.EventExit, 2, payload("", 9)}},
		{"the run ends: too much virtual time", sent{cage.EventLimit, 0, payload("", 19)}},
		{"call io_uring_setup, which the cage does not have → ENOSYS", sent{cage.EventRefused, 2, payload("", 425)}},
		{"call system call 9999, which the cage does not have → ENOSYS", sent{cage.EventRefused, 2, payload("", 9999)}},
		{"rename /a to /b → 0", sent{cage.EventChange, 2, payload("/a\x00/b", 82, 0)}},
		{"mkdir /a → EEXIST", sent{cage.EventChange, 2, payload("/a\x00", 83, no(17))}},
	} {
		e, err := cage.NewEvent(tt.kind, tt.tid, tt.payload)
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
		} else if got := e.String(); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}
