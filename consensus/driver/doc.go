// Package driver is the shell around consensus.Replica.
package driver
