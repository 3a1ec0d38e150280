package analytics

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Exit codes of the worker; worker/worker.h has the same list. Any other than 0 and these is the cage's (128+n for a
// signal) or an engine that crashed.
const (
	ExitSyntax  = 10
	ExitGate    = 11
	ExitBinder  = 12
	ExitData    = 13
	ExitLimit   = 14
	ExitRequest = 15
	ExitEngine  = 16
)

// Failure is why a query has no result: the worker's line on stderr, part of what executors agree on.
type Failure struct {
	Code     int    // the exit code
	Kind     string `json:"kind"` // syntax, gate, binder, data, runtime, limit, request, engine
	Message  string `json:"message"`
	Position *int   `json:"position,omitempty"` // byte offset in the SQL; nil when there is none
}

// Error is the engine's message, with the place in the query if sql was given to Explain.
func (f *Failure) Error() string { return f.Message }

// maxStderr bounds what ParseFailure looks at.
const maxStderr = 64 << 10

// ParseFailure reads the end of a worker: nil for exit code 0. It never fails: what is no line of the worker's becomes
// a Failure that says so.
func ParseFailure(code int, stderr []byte) *Failure {
	if code == 0 {
		return nil
	}
	if len(stderr) > maxStderr {
		stderr = stderr[:maxStderr]
	}
	f := &Failure{}
	line, _, _ := strings.Cut(string(stderr), "\n")
	if err := json.Unmarshal([]byte(line), f); err != nil || f.Kind == "" {
		kind := "engine"
		if code == 128+9 || code == 128+24 {
			kind = "limit"
		}
		f = &Failure{Kind: kind, Message: fmt.Sprintf("the SQL worker ended with exit code %d: %.400s", code, strings.TrimSpace(string(stderr)))}
	}
	f.Code = code
	return f
}

// Explain shows the failure with the line of the query and a mark under the place, as in
//
//	syntax error at or near "selec"
//	  selec 1
//	  ^
func (f *Failure) Explain(sql string) string {
	if f.Position == nil || *f.Position < 0 || *f.Position > len(sql) {
		return f.Message
	}
	p := *f.Position
	begin := strings.LastIndexByte(sql[:p], '\n') + 1
	end := len(sql)
	if i := strings.IndexByte(sql[p:], '\n'); i >= 0 {
		end = p + i
	}
	if p-begin > 60 {
		begin = p - 60
	}
	if end-p > 60 {
		end = p + 60
	}
	line := strings.ToValidUTF8(sql[begin:end], "?")
	mark := len([]rune(strings.ToValidUTF8(sql[begin:p], "?")))
	return fmt.Sprintf("%s\n  %s\n  %s^", f.Message, strings.ReplaceAll(line, "\t", " "), strings.Repeat(" ", mark))
}
