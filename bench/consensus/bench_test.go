package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// chainOf is a chain that commits what is offered up to most, and collapses when it is offered more than breaks.
func chainOf(most, breaks float64, offered *[]int) func(int) (float64, error) {
	return func(rate int) (float64, error) {
		*offered = append(*offered, rate)
		if float64(rate) > breaks {
			return 0, nil
		}
		return min(float64(rate), most), nil
	}
}

func TestRampStopsWhereTheChainDoesNotFollow(t *testing.T) {
	tests := []struct {
		name         string
		most, breaks float64
		want         float64
		offered      []int
	}{
		{"levels off", 1000, math.Inf(1), 1000, []int{500, 750, 1125}}, // 1000 is below 0.9 × 1125
		{"collapses", 900, 1000, 750, []int{500, 750, 1125}},
		{"never follows", 100, math.Inf(1), 100, []int{500}},
	}
	for _, tt := range tests {
		var offered []int
		best, steps, err := ramp(500, 1.5, chainOf(tt.most, tt.breaks, &offered))
		if err != nil || best != tt.want || !slices.Equal(offered, tt.offered) || steps != len(offered) {
			t.Errorf("%s: %v tx/s, %d steps of %v, %v: want %v by %v", tt.name, best, steps, offered, err, tt.want, tt.offered)
		}
	}
	if _, _, err := ramp(500, 1.5, func(int) (float64, error) { return 0, errors.New("gone") }); err == nil {
		t.Error("an error was swallowed")
	}
}

func TestTableMarksWhatIsShort(t *testing.T) {
	plain := readings{p50: 700, saturated: 3000, cpu: 600, deadP50: 900, halfP50: 700, halfP99: 1300}
	tuned := readings{p50: 60, saturated: 3200, cpu: 500, deadP50: 2000, halfP50: 70, halfP99: 200}
	checking := readings{p50: 60, saturated: 2000, cpu: 900, deadP50: 2000, halfP50: 70, halfP99: 200}
	good := readings{p50: 30, saturated: 8000, cpu: 225, deadP50: 200, halfP50: 10, halfP99: 50}
	names := []string{"default", "tuned", "checking", "BPI"}
	table := systemsTable(names, []readings{plain, tuned, checking, good}, 3)
	if table.Short || strings.Count(table.String(), "| ok |") != 7 {
		t.Errorf("all seven goals are met:\n%s", table)
	}
	for name, change := range map[string]func(*readings){
		"p50":                 func(r *readings) { r.p50 = 31 },
		"saturated, plain":    func(r *readings) { r.saturated = 6399 },
		"saturated, checking": func(r *readings) { r.saturated = 7999 },
		"tail":                func(r *readings) { r.halfP99 = 51 },
		"cpu":                 func(r *readings) { r.cpu = 226 },
		"one dead":            func(r *readings) { r.deadP50 = 201 },
		"nothing committed":   func(r *readings) { r.deadP50 = math.Inf(1) },
	} {
		r := good
		change(&r)
		if table := systemsTable(names, []readings{plain, tuned, checking, r}, 3); !table.Short {
			t.Errorf("%s: not marked:\n%s", name, table)
		}
	}
}

func TestMemoryTableMarksGrowth(t *testing.T) {
	level, rising := make([]float64, memoryParts), make([]float64, memoryParts)
	for i := range level {
		level[i], rising[i] = 100, 100+float64(i)
	}
	level[0] = 10 // it fills up at first
	if table := memoryTable(level, time.Minute, 1, 1); table.Short {
		t.Errorf("level memory is short:\n%s", table)
	}
	if table := memoryTable(rising, time.Minute, 1, 1); !table.Short {
		t.Errorf("rising memory is not short:\n%s", table)
	}
}

func TestSlopeIsInTenthsOfADelay(t *testing.T) {
	if got := slope(203.9, 3, 50*time.Millisecond); got != 4 {
		t.Errorf("%v delays: want 4", got)
	}
	if got := slope(206, 3, 50*time.Millisecond); got != 4.1 {
		t.Errorf("%v delays: want 4.1", got)
	}
}

func TestSplitTellsTheNextLeaderFromTheOthers(t *testing.T) {
	took := func(ms ...int) (list []time.Duration) {
		for _, m := range ms {
			list = append(list, time.Duration(m)*time.Millisecond)
		}
		return list
	}
	next, other, syncs := split([]probe{
		{next: 1, took: took(9, 4, 9, 9), syncs: []int64{7, 3, 7, 7}},
		{next: 0, took: took(4, 9, 9, 9), syncs: []int64{3, 7, 7, 7}},
	})
	if next != 4 || other != 9 || syncs != 3 {
		t.Errorf("%v ms at the next leader, %v elsewhere, %v syncs: want 4, 9, 3", next, other, syncs)
	}
}

func TestSettingsMustBeThere(t *testing.T) {
	const text = "a = 1\nladdr = \"tcp://127.0.0.1:26657\"\n[p2p]\nladdr = \"tcp://0.0.0.0:26656\"\nb = \"x\"\n"
	got, err := set(text, []setting{{"b", `"$1"`}})
	if err == nil {
		got, err = listen(got, "127.9.9.2")
	}
	want := "a = 1\nladdr = \"tcp://127.9.9.2:26657\"\n[p2p]\nladdr = \"tcp://127.9.9.2:26656\"\nb = \"$1\"\n"
	if err != nil || got != want {
		t.Errorf("%q, %v: want %q", got, err, want)
	}
	for _, bad := range []string{"c", "laddr"} {
		if _, err := set(text, []setting{{bad, "0"}}); err == nil {
			t.Errorf("setting %s: accepted", bad)
		}
	}
	if _, err := listen("a = 1\n", "127.9.9.2"); err == nil {
		t.Error("a configuration without addresses was accepted")
	}
}

func TestPlanComesFromTheEnvironment(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if p, err := planFrom(env(nil)); err != nil || p.rounds != 3 || p.memory != 10*time.Minute {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := planFrom(env(map[string]string{"BENCH_QUICK": "1", "BENCH_MEMORY": "42s", "BENCH_ROUNDS": "2"})); err != nil || p.rounds != 2 || p.memory != 42*time.Second || p.steady > 5*time.Second {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []map[string]string{{"BENCH_MEMORY": "1"}, {"BENCH_MEMORY": "1s"}, {"BENCH_ROUNDS": "0"}} {
		if _, err := planFrom(env(bad)); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}
