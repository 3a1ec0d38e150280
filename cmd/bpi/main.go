// Command bpi is Metanode: the node, a network on one machine, and the client of both.
//
// Standard output carries data only; progress, hints and errors go to standard error. Exit codes: 0 done; 1 error;
// 2 usage; 3 the program failed; 4 could not be placed, or the wait timed out; 5 no agreement; 6 a receipt or an audit
// file is invalid.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
