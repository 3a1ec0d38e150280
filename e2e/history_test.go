package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model of what a name of a data set is to those who publish under it, one name at a time: a register that the first
// claim takes for good. Its owner's claims with new bytes count versions up by one and those with the newest bytes change
// nothing; everybody else's are refused with the owner named.

// claim is one PublishDataset.
type claim struct {
	name  string
	who   string // the key that signs
	bytes string // digest of the manifest
}

// claimed is what became of a claim, by the events of its command. Without an answer nobody knows: it may have been
// ordered at any time since, or never.
type claimed struct {
	decision string // "accepted", "unchanged", "refused", or "" for no answer
	version  uint64 // of accepted and unchanged
	owner    string // of refused
}

// register is the state of a name.
type register struct {
	owner   string // "" before the first claim
	version uint64
	bytes   string
}

// step is the claim's effect on the name, and what it is to be told.
func (r register) step(c claim) (register, claimed) {
	switch {
	case r.owner != "" && r.owner != c.who:
		return r, claimed{decision: "refused", owner: r.owner}
	case r.owner != "" && r.bytes == c.bytes:
		return r, claimed{decision: "unchanged", version: r.version}
	}
	return register{owner: c.who, version: r.version + 1, bytes: c.bytes}, claimed{decision: "accepted", version: r.version + 1}
}

var nameModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		at := map[string]int{}
		var out [][]porcupine.Operation
		for _, op := range history {
			name := op.Input.(claim).name
			if _, ok := at[name]; !ok {
				at[name] = len(out)
				out = append(out, nil)
			}
			out[at[name]] = append(out[at[name]], op)
		}
		return out
	},
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		next, want := state.(register).step(input.(claim))
		got := output.(claimed)
		return got.decision == "" || got == want, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// never is the return of a call that got no answer: it may still take effect after all others.
const never = math.MaxInt64

func TestModelOfANameCanFail(t *testing.T) {
	op := func(client int, call, ret int64, c claim, out claimed) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: c, Output: out}
	}
	a, b := claim{"n", "anna", "1"}, claim{"n", "anna", "2"}
	c := claim{"n", "carl", "3"}
	accepted := func(v uint64) claimed { return claimed{decision: "accepted", version: v} }
	for name, x := range map[string]struct {
		ok      bool
		history []porcupine.Operation
	}{
		"one after the other":               {true, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(0, 2, 3, b, accepted(2))}},
		"at the same time, either way":      {true, []porcupine.Operation{op(0, 0, 9, a, accepted(2)), op(1, 0, 9, b, accepted(1))}},
		"the later one first":               {false, []porcupine.Operation{op(0, 0, 1, a, accepted(2)), op(0, 2, 3, b, accepted(1))}},
		"one version twice":                 {false, []porcupine.Operation{op(0, 0, 9, a, accepted(1)), op(1, 0, 9, b, accepted(1))}},
		"a version left out":                {false, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(0, 2, 3, b, accepted(3))}},
		"two owners":                        {false, []porcupine.Operation{op(0, 0, 9, a, accepted(1)), op(1, 0, 9, c, accepted(1))}},
		"refused by an owner to come":       {false, []porcupine.Operation{op(1, 0, 1, c, claimed{decision: "refused", owner: "anna"}), op(0, 2, 3, a, accepted(1))}},
		"refused by the owner":              {true, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(1, 2, 3, c, claimed{decision: "refused", owner: "anna"})}},
		"an accepted claim that is lost":    {false, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(1, 2, 3, c, accepted(1))}},
		"the same bytes":                    {true, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(0, 2, 3, a, claimed{decision: "unchanged", version: 1})}},
		"unchanged, and it had changed":     {false, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(0, 2, 3, b, accepted(2)), op(0, 4, 5, a, claimed{decision: "unchanged", version: 1})}},
		"no answer, and it was ordered":     {true, []porcupine.Operation{op(0, 0, never, a, claimed{}), op(1, 2, 3, b, accepted(2))}},
		"no answer, and it was not":         {true, []porcupine.Operation{op(0, 0, never, a, claimed{}), op(1, 2, 3, b, accepted(1))}},
		"no answer explains one gap only":   {false, []porcupine.Operation{op(0, 0, never, a, claimed{}), op(1, 2, 3, b, accepted(3))}},
		"other names are other registers":   {true, []porcupine.Operation{op(0, 0, 1, a, accepted(1)), op(1, 2, 3, claim{"m", "carl", "3"}, accepted(1))}},
		"other names do not hide a failure": {false, []porcupine.Operation{op(0, 0, 1, a, accepted(2)), op(1, 2, 3, claim{"m", "carl", "3"}, accepted(1))}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			if got := porcupine.CheckOperations(nameModel, x.history); got != x.ok {
				t.Errorf("linearizable: %t, want %t", got, x.ok)
			}
		})
	}
}
