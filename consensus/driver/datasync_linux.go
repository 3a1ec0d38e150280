package driver

import (
	"os"
	"syscall"
)

// dataSync makes the written bytes of a preallocated file durable, without its timestamps.
func dataSync(f *os.File) error {
	return ignoringInterrupts(func() error { return syscall.Fdatasync(int(f.Fd())) })
}

func ignoringInterrupts(f func() error) error {
	for {
		if err := f(); err != syscall.EINTR {
			return err
		}
	}
}
