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
// second one out of the folder.
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

func (l *folderLock) release() { l.f.Close() }

// ownerFile names the key that a folder belongs to. It keeps another key from continuing this key's record, and this
// key from starting over in another's. It is written when the folder's log has been begun and before anything is signed
// from there, so a folder that has it and no log has lost its log.
const ownerFile = "VALIDATOR"

// checkOwner reports whether the folder belongs to key already; an error if it is another's.
func checkOwner(disk Disk, dir string, key sign.PublicKey) (bool, error) {
	name := filepath.Join(dir, ownerFile)
	have, err := readFile(disk, name, 256)
	want := []byte(key.String() + "\n")
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("data folder %s: %w", dir, err)
	case bytes.Equal(have, want):
		return true, nil
	case bytes.HasPrefix(want, bytes.TrimRight(have, "\x00")):
		return false, nil // the machine stopped while it was written: then nothing was signed from here
	}
	return false, fmt.Errorf("data folder %s belongs to validator key %.12s, this node has key %s: give it its own folder, or restore the right key; do not delete the folder, it holds what that key has signed", dir, have, key.Short())
}

// claim makes the folder key's.
func claim(disk Disk, dir string, key sign.PublicKey) error {
	name := filepath.Join(dir, ownerFile)
	err := disk.Remove(name) // a torn one
	var f File
	if err == nil {
		f, err = disk.Create(name)
	}
	if err == nil {
		if _, err = f.WriteAt([]byte(key.String()+"\n"), 0); err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
