package main

import "github.com/urfave/cli/v2"

// auditCommands are the commands that read an audit file.
func auditCommands() []*cli.Command { return nil }
