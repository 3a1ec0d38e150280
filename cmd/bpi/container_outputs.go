package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkOut refuses a place for an output that cannot take it, before anything runs.
func checkOut(o place, force bool) error {
	if info, err := os.Stat(filepath.Dir(o.path)); err != nil || !info.IsDir() {
		return fmt.Errorf("output %s: there is no folder %s; make it first: mkdir -p %s", o.name, filepath.Dir(o.path), filepath.Dir(o.path))
	}
	info, err := os.Lstat(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", o.name, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("output %s: %s is there and is no folder; remove it, or name another place: --out %s=PATH", o.name, o.path, o.name)
	}
	entries, err := os.ReadDir(o.path)
	if err != nil {
		return fmt.Errorf("output %s: %w", o.name, err)
	}
	if len(entries) > 0 && !force {
		return fmt.Errorf("output %s: the folder %s is not empty; --force replaces it, or name another place: --out %s=PATH", o.name, o.path, o.name)
	}
	return nil
}

// deliver brings the folder from, of the run's own, to the output's place in one step: before it there is what was there
// before, after it the whole output.
func deliver(from string, o place, force bool) error {
	// What a program leaves is for everybody to read, as far as the umask lets it; from is in a folder of ours.
	tmp, err := os.MkdirTemp(filepath.Dir(o.path), "."+filepath.Base(o.path)+".bpi-*")
	if err != nil {
		return fmt.Errorf("output %s: %w", o.name, err)
	}
	defer os.RemoveAll(tmp) // once renamed, it is not there, or holds what was replaced
	whole := filepath.Join(tmp, "whole")
	if err := copyTree(from, whole); err != nil {
		return fmt.Errorf("output %s: %w", o.name, err)
	}
	if err := checkOut(o, force); err != nil { // it may have changed since
		return err
	}
	err = os.Rename(whole, o.path)
	if force && err != nil && (errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)) {
		err = unix.Renameat2(unix.AT_FDCWD, whole, unix.AT_FDCWD, o.path, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", o.name, err)
	}
	return nil
}

// copyTree copies a file or a folder of files, with the modes that new ones get here.
func copyTree(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return copyFile(from, to)
	}
	if err := os.Mkdir(to, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// writeWhole writes a file in one step: whoever reads it finds the old one or the whole new one.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".bpi-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
