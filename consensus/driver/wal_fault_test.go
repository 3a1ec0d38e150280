package driver

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/metanode/metanode/consensus"
)

// logRun is a node's use of its log, up to the end or to the first error: it opens, appends, releases, and opens again.
type logRun struct {
	begun    bool
	acked    []string // in order; the last ones of them at the least must be there ever after
	doubtful string   // being appended at the error; "" if none
	released consensus.Height
}

const logDir = "log"

var losingAll = Tears()[1]

func openFaultWAL(d *FaultDisk, begun bool) (*wal, []string, error) {
	var found []string
	w, err := openWAL(d, logDir, 4096, begun, func(p []byte) (consensus.Height, error) {
		found = append(found, string(p))
		return heightOf(p), nil
	})
	return w, found, err
}

// payloads are records of a sector and less, of several, with sectors of zeroes in them, and larger than a segment.
func logPayload(h int) string {
	fill := []string{"", strings.Repeat("x", 30), strings.Repeat("y", 700), strings.Repeat("\x00", 1500) + "z", strings.Repeat("w", 1201)}[h%5]
	if h == 9 {
		fill = strings.Repeat("big", 1700)
	}
	return fmt.Sprintf("h%d %s", h, fill)
}

func (r *logRun) run(d *FaultDisk) error {
	for round := range 4 {
		w, _, err := openFaultWAL(d, r.begun)
		if err != nil {
			return err
		}
		if !r.begun { // and is stopped again before it says anything
			r.begun = true
			w.close()
			continue
		}
		for i := range 6 {
			h := 6*(round-1) + i + 1
			p := logPayload(h)
			r.doubtful = p
			if err := w.append([]byte(p), consensus.Height(h)); err != nil {
				w.close()
				return err
			}
			r.acked, r.doubtful = append(r.acked, p), ""
		}
		r.released = consensus.Height(6*round - 4)
		if err := w.release(r.released); err != nil {
			w.close()
			return err
		}
		w.close()
	}
	return nil
}

// check compares what was found after a restart with what was promised.
func (r *logRun) check(found []string) error {
	all := slices.Clone(r.acked)
	if r.doubtful != "" && len(found) > 0 && found[len(found)-1] == r.doubtful {
		all = append(all, r.doubtful)
	}
	if len(found) > len(all) || !slices.Equal(found, all[len(all)-len(found):]) {
		return fmt.Errorf("found %d records that are not the last of the %d written", len(found), len(all))
	}
	for _, p := range all[:len(all)-len(found)] {
		if heightOf([]byte(p)) > r.released {
			return fmt.Errorf("%.5s… was acknowledged, not released, and is gone", p)
		}
	}
	if len(found) == 0 && len(all) > 0 {
		return errors.New("the last record is gone")
	}
	return nil
}

func wholeLog(t testing.TB) (*FaultDisk, *logRun) {
	t.Helper()
	d, r := NewFaultDisk(), &logRun{}
	if err := r.run(d); err != nil {
		t.Fatal(err)
	}
	return d, r
}

// TestLogOutlivesAStopAtEveryWrite stops the machine in each operation of a log's life in every way, opens the log, and
// stops it once more right after: what the node went by once must be there for ever.
func TestLogOutlivesAStopAtEveryWrite(t *testing.T) {
	whole, _ := wholeLog(t)
	for _, tear := range Tears() {
		for n := 1; n <= whole.Ops(); n++ {
			d, r := NewFaultDisk(), &logRun{}
			d.StopAt(n, tear)
			if err := r.run(d); !errors.Is(err, errDead) {
				continue // the segment in preparation was not reached this time
			}
			after := d.Restarted()
			after.ShortReads()
			w, found, err := openFaultWAL(after, r.begun)
			if err == nil {
				err = r.check(found)
			}
			if err != nil {
				t.Fatalf("stopped in operation %d (%s), leaving %s: %v", n, d.trail[len(d.trail)-1], tear.Name, err)
			}
			after.Stop(losingAll)
			w.close()
			w, again, err := openFaultWAL(after.Restarted(), r.begun)
			if err != nil || !slices.Equal(found, again) {
				t.Fatalf("stopped in operation %d (%s), leaving %s, and again after opening: %d records, then %d, %v", n, d.trail[len(d.trail)-1], tear.Name, len(found), len(again), err)
			}
			w.close()
		}
	}
}

// TestLogOutlivesAFailureOfEveryOperation lets each operation fail once, half done: the log says so, takes nothing more,
// and has everything when it is opened again.
func TestLogOutlivesAFailureOfEveryOperation(t *testing.T) {
	whole, _ := wholeLog(t)
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 1; n <= whole.Ops(); n++ {
			d, r := NewFaultDisk(), &logRun{}
			d.FailAt(n, fault)
			err := r.run(d)
			if err != nil && !errors.Is(err, fault) {
				t.Fatalf("operation %d fails with %v: %v", n, fault, err)
			}
			if err != nil && fault == syscall.ENOSPC && !strings.Contains(err.Error(), "full") {
				t.Fatalf("a full disk is told as: %v", err)
			}
			d.Stop(losingAll)
			w, found, err := openFaultWAL(d.Restarted(), r.begun)
			if err == nil {
				err = r.check(found)
			}
			if err != nil {
				t.Fatalf("operation %d (%s) failed with %v: %v", n, d.trail[n-1], fault, err)
			}
			w.close()
		}
	}
}

// TestLogRefusesEveryFlippedBit spoils the log byte by byte: what cannot be had whole is refused, never shortened.
func TestLogRefusesEveryFlippedBit(t *testing.T) {
	d, r := wholeLog(t)
	refused := 0
	for name, raw := range d.Bytes() {
		for i := range raw {
			if raw[i] == 0 && i%29 != 0 {
				continue // most zeroes are filling
			}
			raw[i] ^= 1 << (i % 8)
			d.Put(name, raw)
			_, found, err := readFaultWAL(d)
			switch {
			case err == nil && !slices.Equal(found, r.acked[len(r.acked)-len(found):]) || err == nil && r.check(found) != nil:
				t.Fatalf("%s with byte %d flipped is taken for a log of %d records", name, i, len(found))
			case err != nil && !errors.Is(err, errDamaged):
				t.Fatalf("%s with byte %d flipped: %v", name, i, err)
			case err != nil:
				refused++
				if !strings.Contains(err.Error(), "key") {
					t.Fatalf("no next step: %v", err)
				}
			}
			raw[i] ^= 1 << (i % 8)
		}
		d.Put(name, raw)
	}
	if refused < 1500 {
		t.Errorf("only %d flips were refused", refused)
	}
}

// readFaultWAL reads the log without beginning a segment.
func readFaultWAL(d *FaultDisk) (*wal, []string, error) {
	var found []string
	w := &wal{disk: d, dir: logDir, size: 4096, seq: 1}
	_, err := w.read(true, func(p []byte) (consensus.Height, error) {
		found = append(found, string(p))
		return heightOf(p), nil
	})
	return w, found, err
}

// TestLogRefusesWhatIsMissing shortens each segment, and takes it away. What is gone at the log's beginning may have been
// released, and blocks can be fetched again; the last record, with what this node has signed, must be there. Only if the
// newest segment is gone altogether does no other file show that it was there; ownVoice is for that.
func TestLogRefusesWhatIsMissing(t *testing.T) {
	d, r := wholeLog(t)
	files := d.Bytes()
	var newest string
	for name, raw := range files {
		if _, ok := decodeSegmentHeader(raw); ok {
			newest = max(newest, name)
		}
	}
	try := func(name, what string) {
		_, found, err := readFaultWAL(d)
		if err == nil && (len(found) == 0 || found[len(found)-1] != r.acked[len(r.acked)-1]) {
			t.Errorf("%s %s is taken for a log of %d records", name, what, len(found))
		}
	}
	for name, raw := range files {
		for n := 1; n < len(raw); n += 13 {
			d.Put(name, raw[:n])
			try(name, fmt.Sprintf("cut to %d of %d bytes", n, len(raw)))
		}
		if name != newest {
			d.Put(name, []byte{})
			try(name, "emptied")
			d.Put(name, nil)
			try(name, "taken away")
		}
		d.Put(name, raw)
	}
	for name := range files {
		d.Put(name, nil)
	}
	if _, _, err := readFaultWAL(d); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "key replaced") {
		t.Errorf("without any segment: %v", err)
	}
}

// FuzzOpenLog opens a folder with one segment of any bytes.
func FuzzOpenLog(f *testing.F) {
	d, _ := wholeLog(f)
	for _, raw := range d.Bytes() {
		f.Add(raw)
	}
	f.Add([]byte(walMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := NewFaultDisk()
		d.Put(filepath.Join(logDir, "wal-0000000000000000.seg"), raw)
		_, found, err := readFaultWAL(d)
		if err != nil {
			return
		}
		for _, p := range found {
			if !bytes.Contains(raw, []byte(p)) {
				t.Fatal("a record that is not in the file")
			}
		}
	})
}
