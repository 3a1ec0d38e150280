package mempool

import "errors"

// What Add may answer. Each is wrapped with the figures of the case and what to do next.
var (
	// ErrFull says that the pool, or the client's share of it, has no room now.
	ErrFull = errors.New("mempool is full")
	// ErrDuplicate says that these very bytes are in the pool or were committed not long ago.
	ErrDuplicate = errors.New("transaction is known already")
	// ErrRate says that the client sent more than its rate allows.
	ErrRate = errors.New("client sends too fast")
	// ErrExpired says that the transaction's time to be ordered is over.
	ErrExpired = errors.New("transaction has expired")
	// ErrTooLarge says that the transaction would fit into no block.
	ErrTooLarge = errors.New("transaction is too large")
)

// InvalidError says that the check refused the transaction: no node will ever take it, and whoever relayed it as sound
// is at fault.
type InvalidError struct{ Err error }

// Error is the check's own message.
func (e *InvalidError) Error() string { return "transaction refused: " + e.Err.Error() }

// Unwrap is the check's error.
func (e *InvalidError) Unwrap() error { return e.Err }

// Invalid is true. It lets callers that do not import this package tell a bad transaction from a busy pool.
func (e *InvalidError) Invalid() bool { return true }
