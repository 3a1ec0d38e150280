package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestProgressShowsHowFarItIs(t *testing.T) {
	p := &progress{what: "sending x"}
	for _, tt := range []struct {
		have, total uint64
		passed      time.Duration
		want        string
	}{
		{0, 0, 0, "sending x  0 B"},
		{5_000_000, 0, 2 * time.Second, "sending x  5000.0 kB  2500.0 kB/s"},
		{0, 100, 0, "sending x  [........................]   0%  0 B of 100 B"},
		{50, 100, 0, "sending x  [############............]  50%  50 B of 100 B"},
		{100, 100, 0, "sending x  [########################] 100%  100 B of 100 B"},
		{900, 100, 0, "sending x  [########################] 100%  100 B of 100 B"},
	} {
		p.have, p.total = tt.have, tt.total
		if got := p.line(tt.passed); got != tt.want {
			t.Errorf("%d of %d: %q, want %q", tt.have, tt.total, got, tt.want)
		}
	}
}

func TestProgressIsSilentWhereThereIsNoTerminal(t *testing.T) {
	var errs bytes.Buffer
	e := &env{err: &errs}
	p := e.progress("reading\x1b[2J", 10)
	if n, err := io.Copy(io.Discard, p.reader(strings.NewReader("0123456789"))); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	p.done()
	if errs.Len() != 0 || p.have != 10 {
		t.Errorf("%q, %d", errs.String(), p.have)
	}
	p.w = &errs // as if it were one
	p.add(1)
	p.add(1) // too soon to be shown
	p.done()
	if s := errs.String(); strings.Count(s, "\r") != 2 || !strings.HasSuffix(s, "\r\x1b[K") || strings.Contains(s, "\x1b[2J") {
		t.Errorf("on a terminal: %q", s)
	}
}
