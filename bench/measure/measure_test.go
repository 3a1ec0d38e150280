package measure

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestProcessorTimeIsReadFromProc(t *testing.T) {
	const stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 9 0 1000 2000 300"
	if got, err := statCPU(stat); err != nil || got != 3*time.Second {
		t.Errorf("%v, %v: want 3s", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 50"} {
		if got, err := statCPU(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if got, err := readTicks("cpu  10 1 20 60 5 1 1 2 3 4\ncpu0 1 1 1 1 1 1 1 1\n"); err != nil || got != (ticks{all: 100, idle: 65, stolen: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTableGivesVerdictsToGoals(t *testing.T) {
	x := Table{Head: []string{"figure", "measured", "goal"}}
	x.Add(true, "a", "1", "≤ 2")
	x.Add(false, "b", "3", "")
	if x.Short {
		t.Error("a row without a goal is short")
	}
	x.Add(false, "c", "3", "≤ 2")
	want := "| figure | measured | goal |  |\n|---|---|---|---|\n| a | 1 | ≤ 2 | ok |\n| b | 3 |  |  |\n| c | 3 | ≤ 2 | **short** |\n"
	if !x.Short || x.String() != want {
		t.Errorf("short %t:\n%swant\n%s", x.Short, x, want)
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 12.34: "12.3", 1234.4: "1234", math.Inf(1): "not reached"} {
		if got := Number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if Median([]float64{4, 1, 3, 2}) != 3 || Median([]float64{5, 1, 9}) != 5 {
		t.Error("a median is wrong")
	}
}

func TestProcessTellsHowItEnded(t *testing.T) {
	p, err := Start(t.TempDir()+"/log", []string{"/bin/sh", "-c", "echo $WHY; exit 3"}, "WHY=because")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := p.Ended(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "because") {
		t.Errorf("%v", err)
	}
	if p, err = Start(t.TempDir()+"/log", []string{"/bin/sleep", "60"}); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Resident(); err != nil || n <= 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	p.Interrupt()
	p.Stop()
	if err := p.Ended(); err != nil || !p.Killed() {
		t.Errorf("killed %t: %v", p.Killed(), err)
	}
}
