package driver

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Disk is the file system under a data folder: where promises are kept. All that the driver writes itself goes through
// it; the operating system's is used unless Config names another. Safe for concurrent use.
type Disk interface {
	// List gives the paths of the files in dir that match a pattern of filepath.Match, in rising order.
	List(dir, pattern string) ([]string, error)
	// Open opens a file for reading from its beginning.
	Open(path string) (File, error)
	// Create makes a file that must not exist. The name is durable when it returns, what is written later is not.
	Create(path string) (File, error)
	// Remove takes a file away for good: it does not come back after a crash.
	Remove(path string) error
}

// File is one file of a Disk.
type File interface {
	io.Reader
	io.WriterAt
	// Sync makes the bytes and the length durable. After an error nobody knows what is.
	Sync() error
	Close() error
}

// SystemDisk is the operating system's file system.
func SystemDisk() Disk { return osDisk{} }

// osDisk implements it.
type osDisk struct{}

func (osDisk) List(dir, pattern string) (out []string, err error) {
	entries, err := os.ReadDir(dir) // and no filepath.Glob: the folder's own name is no pattern
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if ok, err := filepath.Match(pattern, e.Name()); err != nil {
			return nil, err
		} else if ok {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

func (osDisk) Open(path string) (File, error) { return file(os.Open(path)) }

func (osDisk) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err = syncFolder(filepath.Dir(path)); err != nil {
			f.Close()
			os.Remove(path)
		}
	}
	return file(f, err)
}

func (osDisk) Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// osFile syncs without a file's timestamps.
type osFile struct{ *os.File }

func file(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Sync() error { return dataSync(f.File) }

// syncFolder makes a folder's entries durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readFile reads a whole file of at most limit bytes.
func readFile(d Disk, path string, limit int64) ([]byte, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
