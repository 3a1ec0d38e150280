package cage

import "fmt"

func specDifference(a, b *Recording) []FieldDifference {
	var d []FieldDifference
	if x, y := a.Spec.Digest(), b.Spec.Digest(); x != y {
		d = append(d, FieldDifference{"spec", x.String(), y.String()})
	}
	return d
}

func resultDifference(a, b *Recording) []FieldDifference {
	var d []FieldDifference
	if x, y := fmt.Sprint(a.Result.ExitCode), fmt.Sprint(b.Result.ExitCode); x != y {
		d = append(d, FieldDifference{"exit code", x, y})
	}
	return d
}
