package model

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

// number is an environment variable's, or def if it is not set.
func number(t *testing.T, name string, def int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestRulesKeepTheChainWhole visits every state of BPI_MODEL_VIEWS views, or of as many as an ordinary test run has time
// for. The replicas remember only what safety needs.
func TestRulesKeepTheChainWhole(t *testing.T) {
	views := number(t, "BPI_MODEL_VIEWS", 6)
	res, err := Explore(views, Rules{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("4 validators, one of them arbitrary, %v", res)
	if want, ok := map[int]int{3: 171, 4: 969, 5: 5316, 6: 28487, 7: 150056}[views]; ok && res.States != want {
		t.Fatalf("%d states, want %d", res.States, want)
	}
}

// The checker is worth what it finds when a rule is missing.
func TestEveryRuleIsNeeded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules Rules
		fault string
	}{
		{"two votes in a view", Rules{TwoVotes: true}, "certifies 2 blocks"},
		{"vote after timeout", Rules{VoteAfterTimeout: true}, "does not descend"},
		{"extend any certificate", Rules{ExtendAny: true}, "does not descend"},
		{"enter a view freely", Rules{SkipFreely: true}, "does not descend"},
		{"no lock", Rules{NoLock: true}, "does not descend"},
		{"commit over a gap", Rules{CommitGaps: true}, "does not descend"},
		{"votes pooled", Rules{PoolVotes: true}, "certifies 2 blocks"},
		{"timeouts of a third", Rules{ThinTimeouts: true}, "does not descend"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := Explore(6, tt.rules, nil)
			var c *Counterexample
			if !errors.As(err, &c) {
				t.Fatalf("no fault found in %v: %v", res, err)
			}
			if !strings.Contains(c.Fault.Error(), tt.fault) {
				t.Fatalf("found %v, want a fault that %s", c, tt.fault)
			}
			t.Logf("found after %d states: %v", res.States, c)
		})
	}
}

// Remembering more than safety needs is a narrower protocol: it reaches no state that forgetting does not.
func TestRememberingIsNarrower(t *testing.T) {
	all := make(map[State]bool)
	reach(t, 4, Rules{}, func(s State) { all[s] = true })
	reach(t, 4, Rules{Remember: true}, func(s State) {
		s.High = [correct]int8{}
		if s.Turn == 0 && !all[s] {
			t.Fatalf("only a replica that remembers gets to %+v", s)
		}
	})
}

// reach shows see every state of the views.
func reach(t *testing.T, views int, rules Rules, see func(State)) {
	t.Helper()
	seen := map[State]bool{initial(): true}
	queue := []State{initial()}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		see(s)
		if int(s.View) > views {
			continue
		}
		for _, a := range s.acts(rules) {
			n, err := s.do(rules, a, false)
			if err != nil {
				t.Fatal(err)
			}
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
}
