package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/metanode/metanode/internal/sign"
)

// folderLock is the hold of this process on a data folder. The kernel drops it when the process ends, however it ends.
type folderLock struct{ f *os.File }

// lockFolder takes dir for this process. Two processes with one key would sign two votes in a view; the lock keeps a
// second one out of the folder, and claim keeps out another key.
func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // only for the message
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data folder %s is in use by process %s: stop it, or give this node a folder of its own", dir, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	return &folderLock{f}, nil
}

// identity is the file that names the validator key that has signed from a folder.
func identity(dir string) string { return filepath.Join(dir, "VALIDATOR") }

// claimed reports whether some key has signed from the folder.
func claimed(dir string) (bool, error) {
	_, err := os.Stat(identity(dir))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("data folder %s: %w", dir, err)
	}
	return true, nil
}

// claim makes the folder that of a validator key, which is about to sign from it. The identity file keeps another key from
// continuing this key's record, or this key from starting over in another's.
func (l *folderLock) claim(dir string, key sign.PublicKey) error {
	name := identity(dir)
	want := key.String() + "\n"
	have, err := os.ReadFile(name)
	switch {
	case err == nil && bytes.Equal(have, []byte(want)):
		return nil
	case err == nil && len(have) > 0:
		return fmt.Errorf("data folder %s belongs to validator key %.12s, this node has key %s: give it its own folder, or restore the right key; do not delete the folder, it holds what that key has signed", dir, have, key.Short())
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("data folder %s: %w", dir, err)
	}
	// Absent, or empty because the machine stopped while it was written: then nothing was signed from here.
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("data folder %s: %w", dir, err)
	}
	_, err = f.WriteString(want)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (l *folderLock) release() { l.f.Close() }

// syncFolder makes a folder's entries durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
