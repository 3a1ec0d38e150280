package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress shows on a terminal how far something with many bytes is; elsewhere it writes nothing. It is safe for
// concurrent use.
type progress struct {
	w     io.Writer // nil: no terminal
	what  string
	start time.Time

	mu    sync.Mutex
	have  uint64
	total uint64 // 0: not known
	shown time.Time
}

// progressEvery is the pause between two states of a bar.
const progressEvery = 100 * time.Millisecond

// progress begins to show something of total bytes; 0 if that is not known. Call done at its end.
func (e *env) progress(what string, total uint64) *progress {
	p := &progress{what: clean(what), total: total, start: time.Now()}
	if f, ok := e.err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" {
			p.w = f
		}
	}
	return p
}

// add counts bytes.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have += uint64(n)
	p.show()
}

// set tells where it is.
func (p *progress) set(have, total uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have, p.total = have, total
	p.show()
}

func (p *progress) show() {
	now := time.Now()
	if p.w == nil || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	fmt.Fprint(p.w, "\r\x1b[K", p.line(now.Sub(p.start)))
}

// line is one state of the bar.
func (p *progress) line(passed time.Duration) string {
	const width = 24
	rate := ""
	if passed > time.Second {
		rate = "  " + size(uint64(float64(p.have)/passed.Seconds())) + "/s"
	}
	if p.total == 0 {
		return fmt.Sprintf("%s  %s%s", p.what, size(p.have), rate)
	}
	have := min(p.have, p.total)
	full := int(float64(have) / float64(p.total) * width)
	bar := strings.Repeat("#", full) + strings.Repeat(".", width-full)
	return fmt.Sprintf("%s  [%s] %3d%%  %s of %s%s", p.what, bar, int(float64(have)/float64(p.total)*100), size(have), size(p.total), rate)
}

// done takes the bar away.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.w = nil
}

// reader counts what is read from r.
func (p *progress) reader(r io.Reader) io.Reader { return progressReader{r, p} }

type progressReader struct {
	r io.Reader
	p *progress
}

// Read implements io.Reader.
func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		r.p.add(n)
	}
	return n, err
}
