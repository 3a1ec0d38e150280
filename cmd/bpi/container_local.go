package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/configs"
)

// localCage is an engine for runs of this machine alone. Its folder, BPI_HOME/container, keeps what makes the next run
// faster: unpacked roots, and what was learned about programs. Several commands may use it at once.
type localCage struct {
	engine *native.Engine
	dir    string
	run    string   // a folder for this run, removed by close
	lock   *os.File // of it, locked as long as this process lives
}

// openCage makes an engine that can enforce a policy.
func openCage(e *env, p *cage.Policy) (*localCage, error) {
	dir := filepath.Join(e.home, "container")
	runs := filepath.Join(dir, "runs")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for containers: %w; name another home with --home or BPI_HOME", err)
	}
	if err := sweepRuns(runs); err != nil {
		return nil, fmt.Errorf("remove what a run that was cut short has left: %w", err)
	}
	allowed, err := allowedMissing(e)
	if err != nil {
		return nil, err
	}
	engine, err := native.New(native.Config{Dir: dir, AllowMissing: allowed, Policies: []*cage.Policy{p}})
	if err != nil {
		return nil, err
	}
	l := &localCage{engine: engine, dir: dir}
	if err := engine.ReadyFor(p.Mode); err != nil {
		l.close()
		return nil, fmt.Errorf("%w; see: bpi doctor", err)
	}
	if l.run, l.lock, err = newRun(runs); err != nil {
		l.close()
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	return l, nil
}

// allowedMissing are the walls that the configuration of this home allows to be missing.
func allowedMissing(e *env) ([]string, error) {
	cfg, err := configs.Load(configPath(e.home))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration, which may allow walls to be missing: %w", err)
	}
	return cfg.Cage.AllowMissingWalls, nil
}

// close ends the engine and removes what the run has left.
func (l *localCage) close() {
	l.engine.Close() // it has no more to do and nothing to lose
	if l.lock != nil {
		os.RemoveAll(l.run)
		l.lock.Close()
	}
}

// roots is where the engine keeps unpacked roots.
func (l *localCage) roots() string { return filepath.Join(l.dir, "roots") }

// newRun makes a folder that is locked as long as this process lives.
func newRun(runs string) (string, *os.File, error) {
	for {
		dir, err := os.MkdirTemp(runs, "run-*")
		if err != nil {
			return "", nil, err
		}
		f, err := lockFolder(dir)
		if errors.Is(err, fs.ErrNotExist) || err == unix.EWOULDBLOCK {
			continue // somebody who swept came between
		}
		return dir, f, err
	}
}

// lockFolder locks a folder that is there, or says who is in the way: EWOULDBLOCK.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil {
		var now fs.FileInfo
		if now, err = os.Stat(dir); err == nil && !os.SameFile(opened, now) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepRuns removes the folders of runs whose process has ended without removing them.
func sweepRuns(runs string) error {
	entries, err := os.ReadDir(runs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(runs, e.Name())
		f, err := lockFolder(dir)
		if err == unix.EWOULDBLOCK || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(dir)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
