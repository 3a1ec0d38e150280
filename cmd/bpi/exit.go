package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// The exit codes.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitProgram     = 3 // the program that ran failed
	exitTimeout     = 4 // could not be placed, or the wait timed out
	exitNoAgreement = 5 // no quorum, or nondeterministic
	exitInvalid     = 6 // a receipt or an audit file is invalid
)

// exitError carries an exit code with an error.
type exitError struct {
	code  int
	quiet bool // everything has been said
	err   error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// quietly ends with a code after the command has said everything itself.
func quietly(code int) error {
	return &exitError{code: code, quiet: true, err: fmt.Errorf("exit code %d", code)}
}

func usageError(err error) error { return &exitError{code: exitUsage, err: err} }

func exitCode(err error) int {
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return exitTimeout
	}
	return exitFailure
}
