package native

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTracerWireIsTheHeaders compiles tracer/wire.h and compares every offset, size and number with this package's.
func TestTracerWireIsTheHeaders(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile tracer/wire.h with")
	}
	structs := []struct {
		name   string
		value  any
		fields []string
	}{
		{"tj_job", tracerJob{}, []string{"magic", "flags", "argc", "envc", "mounts", "filter_len", "strings_len", "cpu", "epoch_ns",
			"seed", "memory_bytes", "output_bytes", "file_bytes", "cpu_ms", "wall_ms", "calls", "virtual_ns", "files", "processes",
			"spawned", "reserved"}},
		{"tj_done", tracerDone{}, []string{"magic", "kind", "reason", "status", "error", "spawned", "calls", "virtual_ns", "events",
			"memory_peak", "cpu_us", "stops", "text"}},
		{"tj_event", tracerEvent{}, []string{"payload_len", "kind", "tid"}},
	}
	numbers := map[string]uint64{
		"TJ_MAGIC": tracerMagic, "TJ_EVENT_MAX": tracerEventMax, "TJ_RELAXED": flagRelaxed, "TJ_NO_PROCESSES": flagNoProcesses, "TJ_READ_ONLY": flagReadOnly,
		"TJ_SKIP_NET": flagSkipNet, "TJ_SKIP_IPC": flagSkipIPC, "TJ_SKIP_UTS": flagSkipUTS, "TJ_DONE": traceDone, "TJ_NONE": traceNone,
		"TJ_TROUBLE": traceTrouble, "TJ_BAD_JOB": traceBadJob, "TJ_STARTED": traceStarted, "TJ_NONE_WALL": noneWall,
		"TJ_NONE_CPU": noneCPU, "TJ_NONE_OOM": noneOOM, "TJ_NONE_SPIN": noneSpin, "TJ_KILLED_OUTPUT": killedOutput,
		"TJ_KILLED_CALLS": killedCalls, "TJ_KILLED_TIME": killedTime, "TJ_KILLED_PROCESSES": killedProcesses,
		"TJ_KILLED_SECCOMP": killedSeccomp, "TJ_KILLED_DEADLOCK": killedDeadlock,
		"TJ_CONTROL": 3, "TJ_JOB": 4, "TJ_STDIN": 5, "TJ_STDOUT": 6, "TJ_STDERR": 7, "TJ_EVENTS": 8, "TJ_CACHE": 9,
	}
	var program strings.Builder
	program.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include \"wire.h\"\nint main(void) {\n")
	want := map[string]uint64{}
	say := func(expression string, value uint64) {
		fmt.Fprintf(&program, "printf(\"%s\\t%%llu\\n\", (unsigned long long)(%s));\n", expression, expression)
		want[expression] = value
	}
	for name, v := range numbers {
		say(name, v)
	}
	for _, s := range structs {
		typ := reflect.TypeOf(s.value)
		if typ.NumField() != len(s.fields) {
			t.Fatalf("%s has %d fields here, and %d are named", s.name, typ.NumField(), len(s.fields))
		}
		at := 0
		for i, f := range s.fields {
			size := binary.Size(reflect.Zero(typ.Field(i).Type).Interface())
			say(fmt.Sprintf("offsetof(struct %s, %s)", s.name, f), uint64(at))
			say(fmt.Sprintf("sizeof(((struct %s *)0)->%s)", s.name, f), uint64(size))
			at += size
		}
		say(fmt.Sprintf("sizeof(struct %s)", s.name), uint64(at))
	}
	program.WriteString("return 0; }\n")
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "print.c"), filepath.Join(dir, "print")
	if err := os.WriteFile(src, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-I", "tracer", "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if got, err := strconv.ParseUint(value, 10, 64); err != nil || got != want[name] {
			t.Errorf("%s is %s in C, %d in Go", name, value, want[name])
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s was not printed", name)
	}
	if n := binary.Size(tracerJob{}); n != tracerJobBytes {
		t.Errorf("a job has %d bytes, the constant says %d", n, tracerJobBytes)
	}
	if n := binary.Size(tracerDone{}); n != tracerDoneBytes {
		t.Errorf("a word has %d bytes, the constant says %d", n, tracerDoneBytes)
	}
	if n := binary.Size(tracerEvent{}); n != tracerEventBytes {
		t.Errorf("an event has %d bytes, the constant says %d", n, tracerEventBytes)
	}
}

func TestJobIsFollowedByFilterAndStrings(t *testing.T) {
	j := tracerJob{CPU: 1}
	filter := bytes.Repeat([]byte{7}, 24)
	b, err := j.encode(filter, "/work", []string{"sh", ""}, []string{"A=1"}, []mount{{mountTmpfs, "/tmp", "4096"}, {mountFolder, "/in", ""}})
	if err != nil {
		t.Fatal(err)
	}
	text := "/work\x00sh\x00\x00A=1\x00t\x00/tmp\x004096\x00d\x00/in\x00\x00"
	if want := string(filter) + text; string(b[tracerJobBytes:]) != want {
		t.Errorf("behind the job stands %q; want %q", b[tracerJobBytes:], want)
	}
	var got tracerJob
	if _, err := binary.Decode(b, binary.LittleEndian, &got); err != nil {
		t.Fatal(err)
	}
	want := tracerJob{Magic: tracerMagic, CPU: 1, Argc: 2, Envc: 1, Mounts: 2, FilterLen: 3, StringsLen: uint32(len(text))}
	if got != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
	if _, err := j.encode(nil, "/", nil, nil, []mount{{mountFile, "/in/a", "/x\x00/in/b"}}); err == nil {
		t.Error("a path with a zero byte in it passed as two")
	}
}

// eventsOf reads b as a tracer's stream, written in pieces of the given size.
func eventsOf(t *testing.T, b []byte, piece int) ([]string, error) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(p[0], true); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(p[1]), "events")
	wrote := make(chan error, 1)
	go func() {
		var err error
		for len(b) > 0 && err == nil {
			n := min(piece, len(b))
			_, err = w.Write(b[:n])
			b = b[n:]
		}
		w.Close()
		wrote <- err
	}()
	r := &eventReader{fd: p[0], buf: make([]byte, 64)}
	var list []string
	for {
		e, payload, err := r.next()
		if err != nil {
			r.drain()
			r.close()
			if werr := <-wrote; werr != nil {
				t.Fatal(werr)
			}
			if err == io.EOF {
				err = nil
			}
			return list, err
		}
		list = append(list, fmt.Sprintf("%d/%d %d %.8x", e.Kind, e.Tid, len(payload), payload))
	}
}

func TestEventsArriveWhateverTheirPieces(t *testing.T) {
	var b []byte
	var want []string
	for i, n := range []int{0, 1, 51, 52, 53, 64, 200, 0, 70000, 3} {
		payload := bytes.Repeat([]byte{byte(i + 1)}, n)
		b, _ = binary.Append(b, binary.LittleEndian, tracerEvent{PayloadLen: uint32(n), Kind: uint32(i), Tid: 2})
		b = append(b, payload...)
		want = append(want, fmt.Sprintf("%d/2 %d %.8x", i, n, payload))
	}
	for _, piece := range []int{1, 7, 12, 64, 4096, len(b)} {
		got, err := eventsOf(t, b, piece)
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("in pieces of %d: %v, %v", piece, got, err)
		}
	}
	if _, err := eventsOf(t, b[:len(b)-1], 64); err != io.ErrUnexpectedEOF {
		t.Errorf("a payload that is cut off gives %v", err)
	}
	if _, err := eventsOf(t, b[:5], 64); err != io.ErrUnexpectedEOF {
		t.Errorf("a head that is cut off gives %v", err)
	}
	huge, _ := binary.Append(nil, binary.LittleEndian, tracerEvent{PayloadLen: tracerEventMax + 1, Kind: 3, Tid: 2})
	if _, err := eventsOf(t, huge, 64); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("an event over the bound gives %v", err)
	}
}

func FuzzDecodeDone(f *testing.F) {
	good, err := binary.Append(nil, binary.LittleEndian, &tracerDone{Magic: tracerMagic, Kind: traceDone, Text: [200]byte{'x'}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDone(b)
		if err != nil {
			return
		}
		_ = d.text()
		again, err := binary.Append(nil, binary.LittleEndian, d)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}
