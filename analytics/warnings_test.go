package analytics

import (
	"strings"
	"testing"
)

func TestAColumnOfAClockFunctionsNameIsNoWarning(t *testing.T) {
	c := &Checked{Findings: []Finding{{What: "clock", Name: "age"}, {What: "clock", Name: "now"}}}
	tables := []Table{{Columns: []Column{{Name: "Age", Type: "BIGINT"}}}}
	if w := Warnings(c, tables); len(w) != 1 || !strings.HasPrefix(w[0], "now is the job's virtual clock") {
		t.Errorf("warnings %q", w)
	}
	if w := Warnings(c, nil); len(w) != 2 {
		t.Errorf("without such a column: %q", w)
	}
}
