package mutants

// The tests that catch mutants.
const (
	twins = "TestTwins"                  // of package sim
	model = "TestReplicaFollowsTheModel" // of package model
)

// Unchanged is the name of a mutant that is none: its overlay is the source as it is, and every test passes over it.
const Unchanged = "no mutant at all"

// All is every rule whose absence could split the chain or make a validator contradict itself, broken.
var All = []Mutant{
	{
		Name:  Unchanged,
		Edits: []Edit{{"rules.go", "package consensus\n", "package consensus\n"}},
	},
	{
		Name: "lock: a timeout names the oldest certificate that it gets away with",
		Edits: []Edit{
			{"rules.go", "if r.safety.HighQC.Data.View < r.safety.Locked {", "high, last := r.forgetful()\n\tif high.Data.View > r.safety.HighQC.Data.View {"},
			{"rules.go", "HighQC: r.safety.HighQC.Data.View, LastVoted: r.safety.LastVoted,", "HighQC: high.Data.View, LastVoted: r.safety.LastVoted,"},
			{"rules.go", "Sig: r.signer.Sign(msg), HighQC: r.safety.HighQC, LastTC: r.lastTC()}", "Sig: r.signer.Sign(msg), HighQC: high, LastTC: last}"},
			{"rules.go", "// resend repeats,", `func (r *Replica) forgetful() (QC, []TC) {
	if len(r.safety.HighTC) == 1 && r.safety.HighTC[0].View+1 == r.view {
		return r.safety.HighTC[0].HighQC, r.safety.HighTC
	}
	return r.safety.HighQC, r.lastTC()
}

// resend repeats,`},
		},
		By: []string{twins, model},
	},
	{
		Name: "lock: forgotten across a restart",
		Edits: []Edit{
			{"replica.go", "r := &Replica{\n", "rec.Safety.HighQC, rec.Safety.Locked, rec.Safety.HighTC = rec.RootQC, 0, nil\n\tr := &Replica{\n"},
			{"replica.go", "\t\t\tr.start = append(r.start, b.Justify)\n", ""},
		},
		By: []string{twins, model},
	},
	{
		Name: "commit: of a parent that is not of the view before",
		Edits: []Edit{
			{"rules.go", "if parent.view()+1 == h.View {", "if h.View > 0 {"},
			{"rules.go", "if n.view()+1 != r.toCommit.Data.View {", "if n.view() >= r.toCommit.Data.View {"},
		},
		By: []string{twins, model},
	},
	{
		Name:  "last vote: forgotten at once",
		Edits: []Edit{{"rules.go", "h.View != r.view || h.View <= r.safety.LastVoted ||", "h.View != r.view ||"}},
		By:    []string{twins, model},
	},
	{
		Name:  "last vote: forgotten across a restart",
		Edits: []Edit{{"replica.go", "r := &Replica{\n", "rec.Safety.LastVoted, rec.Safety.LastVote = 0, nil\n\tr := &Replica{\n"}},
		By:    []string{twins, model},
	},
	{
		Name:  "last timeout: a vote in its view after it",
		Edits: []Edit{{"rules.go", " || h.View <= r.safety.timedOut() {\n\t\treturn nil\n\t}\n\tparent", " {\n\t\treturn nil\n\t}\n\tparent"}},
		By:    []string{twins},
	},
	{
		Name: "certificate: votes pooled across blocks",
		Edits: []Edit{
			{"votes.go", "if b.vote.Data == data {", "if b.vote.Data.View == data.View {"},
			{"votes.go", "rules().claims(vs.set, at, always(msg), qc.Sigs)", "rules().claims(vs.set, at, func(k int) []byte { return m[at[k]].vote.Data.SigningBytes() }, qc.Sigs)"},
		},
		By: []string{twins},
	},
	{
		Name:  "timeout certificate: one that knows a higher certificate than the block's",
		Edits: []Edit{{"verifier.go", "if proposal && last[0].HighQC.Data.View > qc.Data.View {", "if proposal && last[0].HighQC.Data.View > last[0].View {"}},
		By:    []string{model},
	},
	{
		Name:  "timeout certificate: none wanted",
		Edits: []Edit{{"verifier.go", "if len(last) != 1 || last[0].View+1 != view {", "if len(last) != 1 {\n\t\treturn v.checkQC(qc)\n\t}\n\tif last[0].View+1 != view {"}},
		By:    []string{model},
	},
	{
		Name:  "timeout certificate: of any view",
		Edits: []Edit{{"verifier.go", "if len(last) != 1 || last[0].View+1 != view {", "if len(last) != 1 {"}},
		By:    []string{model},
	},
	{
		Name:  "timeout: taken without what led its sender into the view",
		Edits: []Edit{{"verifier.go", "if err := v.skip(\"timeout\", d.View, &t.HighQC, t.LastTC, false); err != nil {", "if err := v.checkQC(&t.HighQC); err != nil {"}},
		By:    []string{model},
	},
	{
		Name:  "timeout certificate: of a third of the weight",
		Edits: []Edit{{"timeouts.go", "if !ts.set.IsQuorum(ts.weight) {", "if !ts.honest() {"}},
		By:    []string{twins},
	},
	{
		Name:  "proposal: forgotten across a restart",
		Edits: []Edit{{"replica.go", "r := &Replica{\n", "rec.Safety.ProposedView, rec.Safety.Proposed = 0, BlockID{}\n\tr := &Replica{\n"}},
		By:    []string{twins},
	},
}
