package api

import (
	"fmt"
	"net/http"
	"time"
)

// Codes of errors, stable for programs.
const (
	CodeMalformed    = "malformed"
	CodeBadSignature = "bad_signature"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not_found"
	CodeMethod       = "method_not_allowed"
	CodeAmbiguous    = "ambiguous"
	CodeReplay       = "replay"
	CodeNotSealed    = "not_sealed"
	CodeExpired      = "expired"
	CodeGone         = "gone"
	CodeTooLarge     = "too_large"
	CodeMediaType    = "media_type"
	CodeWrongChain   = "wrong_chain"
	CodeBadSQL       = "bad_sql"
	CodeRefused      = "refused"
	CodeRateLimited  = "rate_limited"
	CodeQuotaFull    = "quota_full"
	CodeMempoolFull  = "mempool_full"
	CodeUnavailable  = "unavailable"
	CodeInternal     = "internal"
)

// Error is what a request was answered with instead of a result: returned by the client, and by a backend to choose
// the answer.
type Error struct {
	Status     int // HTTP status
	Code       string
	Message    string        // names the thing and the cause
	Next       string        // the next step; may be empty
	RetryAfter time.Duration // 0: not said
	SQL        *SQLProblem
}

// Error is the message with its next step.
func (e *Error) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + "; " + e.Next
}

// Is reports whether target is an *Error of the same code, so that errors.Is(err, &Error{Code: CodeNotFound}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func newError(status int, code, next, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Next: next, Message: fmt.Sprintf(format, args...)}
}

// Malformed (400) is for input that does not have its form.
func Malformed(next, format string, args ...any) *Error {
	return newError(http.StatusBadRequest, CodeMalformed, next, format, args...)
}

// BadSignature (401) is for a command whose signature is not its signer's, or whose signer is not admitted.
func BadSignature(next, format string, args ...any) *Error {
	return newError(http.StatusUnauthorized, CodeBadSignature, next, format, args...)
}

// Forbidden (403) is for what this caller may not do.
func Forbidden(next, format string, args ...any) *Error {
	return newError(http.StatusForbidden, CodeForbidden, next, format, args...)
}

// NotFound (404) is for what the node does not know.
func NotFound(next, format string, args ...any) *Error {
	return newError(http.StatusNotFound, CodeNotFound, next, format, args...)
}

// Ambiguous (409) is for a prefix that several ids share.
func Ambiguous(next, format string, args ...any) *Error {
	return newError(http.StatusConflict, CodeAmbiguous, next, format, args...)
}

// Replay (409) is for a command that was ordered or accepted before.
func Replay(next, format string, args ...any) *Error {
	return newError(http.StatusConflict, CodeReplay, next, format, args...)
}

// NotSealed (409) is for a receipt or an output of a job without a seal.
func NotSealed(next, format string, args ...any) *Error {
	return newError(http.StatusConflict, CodeNotSealed, next, format, args...)
}

// Expired (410) is for a command past its agreed time, or too far ahead of it.
func Expired(next, format string, args ...any) *Error {
	return newError(http.StatusGone, CodeExpired, next, format, args...)
}

// Gone (410) is for what was there and has been dropped: pruned blocks, results past their lifetime.
func Gone(next, format string, args ...any) *Error {
	return newError(http.StatusGone, CodeGone, next, format, args...)
}

// TooLarge (413) is for input over a limit.
func TooLarge(next, format string, args ...any) *Error {
	return newError(http.StatusRequestEntityTooLarge, CodeTooLarge, next, format, args...)
}

// WrongChain (421) is for a command of another chain.
func WrongChain(next, format string, args ...any) *Error {
	return newError(http.StatusMisdirectedRequest, CodeWrongChain, next, format, args...)
}

// BadSQL (422) is for a statement that the gate or the engine refuses.
func BadSQL(p SQLProblem, next string) *Error {
	e := newError(http.StatusUnprocessableEntity, CodeBadSQL, next, "%s", p.Message)
	e.SQL = &p
	return e
}

// Refused (422) is for a message that a service's provider refuses, in its words.
func Refused(next, format string, args ...any) *Error {
	return newError(http.StatusUnprocessableEntity, CodeRefused, next, format, args...)
}

// RateLimited (429) is for a caller or a client key that asks too often.
func RateLimited(after time.Duration, format string, args ...any) *Error {
	e := newError(http.StatusTooManyRequests, CodeRateLimited, "try again later", format, args...)
	e.RetryAfter = after
	return e
}

// MempoolFull (503) is for a node that cannot take more commands now.
func MempoolFull(after time.Duration, format string, args ...any) *Error {
	e := newError(http.StatusServiceUnavailable, CodeMempoolFull, "try again later, or another peer", format, args...)
	e.RetryAfter = after
	return e
}

// Unavailable (503) is for what the node cannot do at present.
func Unavailable(next, format string, args ...any) *Error {
	return newError(http.StatusServiceUnavailable, CodeUnavailable, next, format, args...)
}

// QuotaFull (507) is for an upload that does not fit in the node's blob store.
func QuotaFull(next, format string, args ...any) *Error {
	return newError(http.StatusInsufficientStorage, CodeQuotaFull, next, format, args...)
}
