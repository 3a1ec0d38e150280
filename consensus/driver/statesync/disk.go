package statesync

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// disk is what a Folder does to the file system. Tests stop it at any of its writes.
type disk interface {
	// Write makes a file with these bytes, or replaces it, and syncs it. After a crash the file may hold anything.
	Write(path string, b []byte) error
	// Rename moves a folder and syncs the folder around it.
	Rename(from, to string) error
	// RemoveAll removes a folder with all in it; one that is not there is no error.
	RemoveAll(path string) error
	// Mkdir makes a folder; one that is there is no error.
	Mkdir(path string) error
	// Sync makes the names in a folder durable.
	Sync(dir string) error
}

// files is the file system.
type files struct{}

func (files) Write(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d files) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return d.Sync(filepath.Dir(to))
}

func (files) RemoveAll(path string) error { return os.RemoveAll(path) }

func (files) Mkdir(path string) error { return os.MkdirAll(path, 0o700) }

func (files) Sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(raw) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, err
}
