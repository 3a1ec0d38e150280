package model

import (
	"fmt"
	"strings"
)

// Result is what an exploration saw.
type Result struct {
	Views       int
	States      int // distinct ones between two views
	Transitions int // a replica's act in a view
}

// String is for people.
func (r Result) String() string {
	return fmt.Sprintf("%d views: %d states between views, %d transitions", r.Views, r.States, r.Transitions)
}

// step leads to a state: what the replicas did in the view before, in turn.
type step struct {
	from State
	acts [correct]Act
}

// Counterexample is a way into a state that must not be.
type Counterexample struct {
	Fault error
	Steps []string
}

func (c *Counterexample) Error() string {
	return fmt.Sprintf("%v:\n  %s", c.Fault, strings.Join(c.Steps, "\n  "))
}

// explorer is a breadth-first search. Only states between views are kept: those within a view name all acts of the view,
// so no two ways lead to one.
type explorer struct {
	rules   Rules
	observe bool
	res     Result
	came    map[State]step
	next    []State
}

// Explore visits every state up to the end of the given view, breadth first, and stops at the first that must not be: the
// error is then a *Counterexample, of the fewest views. visit, if not nil, is shown every state between views, the last
// ones too, with replica 0's whole history, which are far more states; its error ends the exploration.
func Explore(views int, rules Rules, visit func(*State) error) (Result, error) {
	if views < 1 || views > MaxViews {
		return Result{}, fmt.Errorf("model of %d views: want 1 to %d", views, MaxViews)
	}
	first := initial()
	e := &explorer{rules: rules, observe: visit != nil, res: Result{Views: views}, came: map[State]step{first: {}}}
	queue := []State{first}
	for len(queue) > 0 {
		for _, s := range queue {
			e.res.States++
			if visit != nil {
				if err := visit(&s); err != nil {
					return e.res, err
				}
			}
			if int(s.View) > views {
				continue
			}
			if err := e.view(s, s); err != nil {
				return e.res, err
			}
		}
		queue, e.next = e.next, nil
	}
	return e.res, nil
}

// view goes through all that can be done in the rest of s.View, which began as from.
func (e *explorer) view(from, s State) error {
	for _, a := range s.acts(e.rules) {
		e.res.Transitions++
		did := s.Acts
		did[s.Turn] = a
		t, fault := s.do(e.rules, a, e.observe)
		switch {
		case fault != nil:
			return &Counterexample{fault, e.retrace(from, did)}
		case t.Turn != 0:
			if err := e.view(from, t); err != nil {
				return err
			}
		default:
			if _, known := e.came[t]; !known {
				e.came[t] = step{from, did}
				e.next = append(e.next, t)
			}
		}
	}
	return nil
}

// retrace tells how s was reached, and what was done in it. Between views replicas may have changed places.
func (e *explorer) retrace(s State, last [correct]Act) []string {
	var out []string
	for st := (step{s, last}); st.from.View != 0; st = e.came[st.from] {
		for i := correct - 1; i >= 0; i-- {
			if st.acts[i] != idle {
				out = append(out, fmt.Sprintf("view %d: replica %d%v", st.from.View, i, st.acts[i]))
			}
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
