//go:build !linux

package driver

import "os"

// dataSync makes the written bytes of a preallocated file durable.
func dataSync(f *os.File) error { return f.Sync() }
