package native

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// decodeHarness compiles the program that says what the tracer's decoder says.
func decodeHarness(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"gcc", "objdump"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here to compare the decoder with", tool)
		}
	}
	program := filepath.Join(t.TempDir(), "decode_harness")
	out, err := exec.Command("gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program,
		"tracer/testdata/decode_harness.c", "tracer/decode.c", "tracer/places.c").CombinedOutput()
	if err != nil {
		t.Fatalf("compile the decoder: %v\n%s", err, out)
	}
	return program
}

// line is an instruction as objdump has it.
type line struct {
	at   uint64 // address
	code []byte
	text string
}

// disassemble gives the instructions of the first limit bytes of a file's .text.
func disassemble(t *testing.T, file string, limit uint64) []line {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	if text == nil {
		t.Fatalf("%s has no .text", file)
	}
	cmd := exec.Command("objdump", "-dw", "-j", ".text", fmt.Sprintf("--stop-address=%#x", text.Addr+min(text.Size, limit)), file)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("objdump %s: %v", file, err)
	}
	var lines []line
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		at, rest, ok := strings.Cut(s.Text(), ":\t")
		if !ok {
			continue
		}
		a, err := strconv.ParseUint(strings.TrimSpace(at), 16, 64)
		if err != nil {
			continue
		}
		digits, name, _ := strings.Cut(rest, "\t")
		code, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("objdump %s: %q: %v", file, s.Text(), err)
		}
		if name == "" && len(lines) > 0 { // bytes that did not fit into one line
			lines[len(lines)-1].code = append(lines[len(lines)-1].code, code...)
			continue
		}
		lines = append(lines, line{a, code, name})
	}
	if len(lines) == 0 {
		t.Fatalf("objdump %s: no instructions", file)
	}
	return lines
}

// lengths asks the decoder for the length of each instruction, with all that follows it in view.
func lengths(t *testing.T, harness string, lines []line) []byte {
	t.Helper()
	last := lines[len(lines)-1]
	first := lines[0].at
	code := make([]byte, last.at+uint64(len(last.code))-first)
	in := binary.LittleEndian.AppendUint32(nil, uint32(len(code)))
	for _, l := range lines {
		copy(code[l.at-first:], l.code)
	}
	in = append(in, code...)
	for _, l := range lines {
		in = binary.LittleEndian.AppendUint32(in, uint32(l.at-first))
	}
	cmd := exec.Command(harness, "lengths")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil || len(out) != len(lines) {
		t.Fatalf("the decoder gave %d lengths for %d instructions: %v", len(out), len(lines), err)
	}
	return out
}

// TestTracerDecodesAsObjdumpDoes allows no difference at all in the length of an instruction. What objdump prints as one
// with a wait (9B) before it is two to a processor.
func TestTracerDecodesAsObjdumpDoes(t *testing.T) {
	harness := decodeHarness(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/bin/ls", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6", self} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if _, err := os.Stat(file); err != nil {
				t.Skip(err)
			}
			lines := disassemble(t, file, 2<<20)
			lines = lines[:len(lines)-1] // where it was told to stop, objdump may have cut one
			if slices.ContainsFunc(lines, func(l line) bool { return strings.Contains(l.text, "(bad)") }) {
				t.Skipf("%s has data in its code", file)
			}
			differ := 0
			for i, n := range lengths(t, harness, lines) {
				l := lines[i]
				if l.code[0] == 0x9b && n == 1 {
					continue
				}
				if int(n) != len(l.code) {
					if differ++; differ <= 10 {
						t.Errorf("%#x: % x (%s): %d bytes to the decoder", l.at, l.code, l.text, n)
					}
				}
			}
			if differ > 0 {
				t.Errorf("%d of %d instructions differ", differ, len(lines))
			}
		})
	}
}

// TestTracerRefusesWhatIsNoInstruction names bytes that no processor runs in 64-bit mode, and instructions cut short.
func TestTracerRefusesWhatIsNoInstruction(t *testing.T) {
	harness := decodeHarness(t)
	for _, code := range []string{
		"06", "37", "60", "82c001", "9a", "ce", "d5", "ea", // gone in 64-bit mode
		"0f04", "0f24c0", "0f3900", "0fba00", "8dc0", "ffff", "fe10", // no such opcode or member of its group
		"66c5f877", "62f17c4828", // VEX after a prefix; EVEX cut short
		"0f", "e8000000", "48b80102030405", "66666666666666666666666666666690", // cut short; sixteen bytes
	} {
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		in := append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
		cmd := exec.Command(harness, "lengths")
		cmd.Stdin = bytes.NewReader(append(in, 0, 0, 0, 0))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, []byte{0}) {
			t.Errorf("%s: length %d, want none", code, out)
		}
	}
}

// places asks for the offsets that the tracer would replace an instruction at.
func places(t *testing.T, harness, file string) []uint64 {
	t.Helper()
	out, err := exec.Command(harness, "places", file).Output()
	if err != nil {
		t.Fatalf("places of %s: %v", file, err)
	}
	var found []uint64
	for l := range strings.Lines(string(out)) {
		at, err := strconv.ParseUint(strings.Fields(l)[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, at)
	}
	return found
}

// TestTracerReplacesInstructionsAndNothingElse has instructions with all prefixes, and their bytes inside others and in
// tables; with the tables that say where functions begin, and stripped of them.
func TestTracerReplacesInstructionsAndNothingElse(t *testing.T) {
	harness := decodeHarness(t)
	program := filepath.Join(t.TempDir(), "places")
	if out, err := exec.Command("gcc", "-nostdlib", "-static", "-o", program, "tracer/testdata/decode_places.S").CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	text := f.Section(".text")
	var want []uint64
	for _, s := range symbols {
		if strings.HasPrefix(s.Name, "place_") {
			want = append(want, s.Value-text.Addr+text.Offset)
		}
	}
	slices.Sort(want)
	if len(want) != 6 {
		t.Fatalf("%d places in the program, want 6", len(want))
	}
	if got := places(t, harness, program); !slices.Equal(got, want) {
		t.Errorf("found %x, want %x", got, want)
	}
	if out, err := exec.Command("objcopy", "--strip-all", program).CombinedOutput(); err != nil {
		t.Skipf("strip the program: %v\n%s", err, out)
	}
	if got := places(t, harness, program); !slices.Equal(got, want) {
		t.Errorf("stripped: found %x, want %x", got, want)
	}
}

// TestTracerFindsWhatTheLoaderAsks compares the places in the dynamic loader, which asks the processor most, with
// objdump's list.
func TestTracerFindsWhatTheLoaderAsks(t *testing.T) {
	harness := decodeHarness(t)
	const loader = "/lib64/ld-linux-x86-64.so.2"
	f, err := elf.Open(loader)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	text := f.Section(".text")
	var want []uint64
	for _, l := range disassemble(t, loader, 1<<30) {
		name, _, _ := strings.Cut(l.text, " ")
		if slices.Contains([]string{"cpuid", "rdrand", "rdseed", "rdpid"}, name) {
			want = append(want, l.at-text.Addr+text.Offset+uint64(bytes.IndexByte(l.code, 0x0f)))
		}
	}
	if got := places(t, harness, loader); !slices.Equal(got, want) {
		t.Errorf("found %x, want %x", got, want)
	}
}

// FuzzTracerPlaces gives the search files that lie about themselves.
func FuzzTracerPlaces(f *testing.F) {
	if _, err := exec.LookPath("gcc"); err != nil {
		f.Skip("no gcc here")
	}
	dir := f.TempDir()
	harness := filepath.Join(dir, "harness")
	out, err := exec.Command("gcc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-o", harness,
		"tracer/testdata/decode_harness.c", "tracer/decode.c", "tracer/places.c").CombinedOutput()
	if err != nil {
		f.Skipf("compile with a sanitizer: %v\n%s", err, out)
	}
	program := filepath.Join(dir, "seed")
	if out, err := exec.Command("gcc", "-nostdlib", "-static", "-o", program, "tracer/testdata/decode_places.S").CombinedOutput(); err != nil {
		f.Fatalf("compile: %v\n%s", err, out)
	}
	seed, err := os.Open(program)
	if err != nil {
		f.Fatal(err)
	}
	defer seed.Close()
	b, err := io.ReadAll(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:64])
	f.Fuzz(func(t *testing.T, file []byte) {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(harness, "places", name).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 3) {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}
