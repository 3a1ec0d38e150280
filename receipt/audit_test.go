package receipt_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/receipt"
)

// audit exports blocks from..to of a chain with three blocks and a certificate on blocks 1 and 3.
func audit(t testing.TB, from, to int) (*chain, []string) {
	t.Helper()
	c, _ := sealed(t)
	c.add()
	var b bytes.Buffer
	a, err := receipt.NewAuditWriter(&b, c.trust().Chain, uint64(from), uint64(to))
	if err != nil {
		t.Fatal(err)
	}
	export(t, c, a, from, to)
	return c, strings.SplitAfter(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func export(t testing.TB, c *chain, a receipt.AuditSink, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := a.Block(&c.headers[i], encoded(c.events[i])); err != nil {
			t.Fatal(err)
		}
		if i == 1 || i == to {
			h := c.headers[i]
			if err := a.Certificate(&consensus.Finality{Headers: []consensus.Header{h}, QC: c.certify(&h)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.End(); err != nil {
		t.Fatal(err)
	}
}

func verifyLines(c *chain, lines []string) *receipt.AuditReport {
	return receipt.VerifyAudit(strings.NewReader(strings.Join(lines, "")), c.trust())
}

func TestAuditVerifies(t *testing.T) {
	c, lines := audit(t, 0, 3)
	r := verifyLines(c, lines)
	if !r.Valid() || r.From != 0 || r.To != 3 || r.Events != 6 || r.Line != uint64(len(lines)) {
		t.Errorf("%+v", r)
	}
	if s := r.Steps[len(r.Steps)-1]; s.Name != receipt.StepStart || s.Status != receipt.OK {
		t.Errorf("start: %+v", s)
	}
	c, lines = audit(t, 2, 3)
	r = verifyLines(c, lines)
	if s := r.Steps[len(r.Steps)-1]; !r.Valid() || s.Status != receipt.NotChecked {
		t.Errorf("from block 2: %+v", r)
	}
}

func TestAuditNamesTheLineThatWasTouched(t *testing.T) {
	c, lines := audit(t, 0, 3)
	refused := func(name string, at int, edited []string) {
		t.Helper()
		r := verifyLines(c, edited)
		if r.Valid() {
			t.Errorf("%s: accepted", name)
		}
		if at > 0 && (r.Line < uint64(at) || r.Line > uint64(at)+6) {
			t.Errorf("%s near line %d: blames line %d", name, at, r.Line)
		}
	}
	for i := range lines {
		if i > 0 {
			removed := append(append([]string{}, lines[:i]...), lines[i+1:]...)
			if strings.Contains(lines[i], `"type":"certificate"`) && i != len(lines)-2 {
				// A certificate in the middle is a convenience: history without it is as complete.
				if !verifyLines(c, removed).Valid() {
					t.Error("a file without a certificate in the middle is refused")
				}
			} else {
				refused(fmt.Sprint("removed line ", i+1), i+1, removed)
			}
			swapped := append([]string{}, lines...)
			swapped[i-1], swapped[i] = strings.TrimSuffix(lines[i], "\n")+"\n", lines[i-1]
			refused(fmt.Sprint("swapped lines ", i, i+1), i, swapped)
		}
		refused(fmt.Sprint("repeated line ", i+1), i+1, append(append(append([]string{}, lines[:i+1]...), "\n"[:b2i(!strings.HasSuffix(lines[i], "\n"))], lines[i]), lines[i+1:]...))
		refused(fmt.Sprint("truncated after line ", i+1), i+1, lines[:i+b2i(i < len(lines)-1)])
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAuditRefusesEveryChangedByte(t *testing.T) {
	c, lines := audit(t, 0, 3)
	text := []byte(strings.Join(lines, ""))
	for i := range text {
		if text[i] == '\n' || testing.Short() && i%13 != 0 {
			continue
		}
		text[i] ^= 1 << (i % 7)
		if r := receipt.VerifyAudit(bytes.NewReader(text), c.trust()); r.Valid() {
			t.Errorf("byte %d changed to %q: accepted", i, text[i])
		}
		text[i] ^= 1 << (i % 7)
	}
}

func TestAuditOfAnotherChainIsRefused(t *testing.T) {
	_, lines := audit(t, 0, 3)
	other := newChain(t)
	other.genesis.TimestampMs++
	if verifyLines(other, lines).Valid() {
		t.Error("accepted")
	}
}

func TestAuditWriterRefusesGaps(t *testing.T) {
	c, _ := sealed(t)
	a, err := receipt.NewAuditWriter(&bytes.Buffer{}, c.trust().Chain, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Block(&c.headers[1], nil); err == nil {
		t.Error("block 1 in place of block 0")
	}
	if err := a.Block(&c.headers[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := a.End(); err == nil {
		t.Error("end before the last block")
	}
	if _, err := receipt.NewAuditWriter(&bytes.Buffer{}, c.trust().Chain, 2, 1); err == nil {
		t.Error("range that runs backwards")
	}
}

func TestAuditTableHoldsTheEvents(t *testing.T) {
	c, _ := sealed(t)
	c.events[1][0].Reason = `=HYPERLINK("x")`
	var b bytes.Buffer
	a, err := receipt.NewAuditCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.headers {
		if err := a.Block(&c.headers[i], encoded(c.events[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.End(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 7 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if rows[1][7] != `'=HYPERLINK("x")` || rows[3][4] != receipt.KindJobSealed || rows[3][8] != rows[3][5] {
		t.Errorf("%q\n%q", rows[1], rows[3])
	}
}

func FuzzVerifyAudit(f *testing.F) {
	c, lines := audit(f, 0, 3)
	trust := c.trust()
	f.Add([]byte(strings.Join(lines, "")))
	f.Add([]byte(strings.Join(lines[:4], "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := receipt.VerifyAudit(bytes.NewReader(b), trust)
		if r.Valid() && r.To > 3 {
			t.Error("history that never was")
		}
	})
}
