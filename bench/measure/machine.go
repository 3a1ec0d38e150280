package measure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine is where the figures come from, and what else went on there.
type Machine struct {
	text  string
	begin ticks
}

// ticks are of all cores, from /proc/stat.
type ticks struct{ all, idle, stolen int64 }

// DescribeMachine names the machine and measures its disk where the data will be.
func DescribeMachine(dir string) (Machine, error) {
	cpu := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.Trim(name, " \t:\n")
				break
			}
		}
	}
	host, _ := exec.Command("uname", "-sr").Output() // an empty name says enough
	load, _ := os.ReadFile("/proc/loadavg")
	sync, err := syncTime(dir)
	if err != nil {
		return Machine{}, err
	}
	var begin ticks
	if raw, err := os.ReadFile("/proc/stat"); err == nil {
		begin, _ = readTicks(string(raw))
	}
	first, _, _ := strings.Cut(string(load), " ")
	return Machine{begin: begin, text: fmt.Sprintf("Machine: %s, %d cores, %s, %s; fdatasync of an overwritten page %.2f ms (median); load %s before the start.",
		cpu, runtime.NumCPU(), strings.TrimSpace(string(host)), runtime.Version(), float64(sync)/float64(time.Millisecond), first)}, nil
}

// String is one line.
func (m Machine) String() string { return m.text }

// Since says how much of the machine's time was left over and how much went to other machines on the same host: figures
// of a run with much of the latter are worth little.
func (m Machine) Since() string {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return "The machine does not tell how busy it was."
	}
	now, err := readTicks(string(raw))
	all := now.all - m.begin.all
	if err != nil || all <= 0 {
		return "The machine does not tell how busy it was."
	}
	return fmt.Sprintf("Meanwhile the machine was idle for %.0f %% of its time, and %.1f %% were stolen by its host.",
		100*float64(now.idle-m.begin.idle)/float64(all), 100*float64(now.stolen-m.begin.stolen)/float64(all))
}

// readTicks reads the first line of /proc/stat: user nice system idle iowait irq softirq steal, and guests that are
// counted in the first two already.
func readTicks(stat string) (t ticks, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return t, fmt.Errorf("/proc/stat begins with %.80q", line)
	}
	for i, s := range f[1:9] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return t, fmt.Errorf("/proc/stat: %w", err)
		}
		t.all += n
		switch i {
		case 3, 4:
			t.idle += n
		case 7:
			t.stolen += n
		}
	}
	return t, nil
}

// syncTime is the median time to overwrite a page and make it durable in a folder.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var all []float64
	for i := range 51 {
		begin := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("sync a file in %s: %w", dir, err)
		}
		if i > 0 { // the first one makes the page
			all = append(all, float64(time.Since(begin)))
		}
	}
	return time.Duration(Median(all)), nil
}
