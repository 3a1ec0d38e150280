package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	pebbleds "github.com/ipfs/go-ds-pebble"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
)

// loadKeys loads the keys that the role asks for, and finds out what the node is on this chain. A validator key is loaded
// whether it is in the set or not: the validators may let it in, and put it out, while the node runs.
func (n *Node) loadKeys() error {
	dir := n.cfg.KeysDir()
	var err error
	if n.keys.node, err = keyfile.Load(filepath.Join(dir, keyfile.Node.FileName()), keyfile.Node); err != nil {
		return err
	}
	role := n.cfg.Role
	if role == configs.RoleAuto || role == configs.RoleValidator {
		key, err := keyfile.Load(filepath.Join(dir, keyfile.Validator.FileName()), keyfile.Validator)
		switch {
		case err == nil:
			n.keys.validator = key
		case errors.Is(err, os.ErrNotExist) && role == configs.RoleAuto:
		default:
			return err
		}
	}
	_, admitted := n.admitted()
	n.executes = admitted && (role == configs.RoleAuto || role == configs.RoleExecutor)
	if role == configs.RoleExecutor && !admitted {
		return fmt.Errorf("role = \"executor\", but node key %s is not admitted on this chain; use role = \"follower\"", n.keys.node.Public().Short())
	}
	return nil
}

// admitted is the operator under which genesis admits this node's key as an executor.
func (n *Node) admitted() (sign.PublicKey, bool) {
	app, err := appGenesis(n.genesis)
	if err != nil {
		return sign.PublicKey{}, false
	}
	for _, x := range app.Nodes {
		if x.Node == n.keys.node.Public() {
			return x.Operator, true
		}
	}
	return sign.PublicKey{}, false
}

// folderLock is the hold of one process on a data folder; the kernel drops it when the process ends, however it ends.
type folderLock struct{ f *os.File }

// lockFolder takes the data folder for this process.
func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, "node.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("data folder %s is in use by process %s; stop that node first, or give this one another data_dir", dir, orUnknown(string(holder)))
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(fmt.Sprint(os.Getpid())), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
		}
	}
	return &folderLock{f}, nil
}

func (l *folderLock) release() { l.f.Close() }

func orUnknown(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "unknown"
	}
	return s
}

// openDatabase opens the node's database with small buffers: an idle peer's memory is its users'.
func openDatabase(dir string) (*database, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make database folder: %w", err)
	}
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref() // the database holds its own reference
	db := &database{dir: dir, spoiled: make(chan struct{})}
	opts := &pebble.Options{
		Cache: cache, MemTableSize: 16 << 20, MemTableStopWritesThreshold: 3, MaxOpenFiles: 256, Logger: quietPebble{},
		// The log of this format tells what was lost of it from what was never there.
		FormatMajorVersion: pebble.FormatWALSyncChunks,
		EventListener:      &pebble.EventListener{DataCorruption: func(x pebble.DataCorruptionInfo) { db.spoil(x.Details) }},
	}
	var err error
	if db.Datastore, err = pebbleds.NewDatastore(dir, pebbleds.WithPebbleOpts(opts)); err != nil {
		return nil, db.explain(fmt.Errorf("open database %s: %w", dir, err))
	}
	return db, nil
}

// database is the node's datastore; closing it makes it durable. It finds out by its checksums what the disk has spoiled.
type database struct {
	*pebbleds.Datastore
	dir string

	once    sync.Once
	damage  error         // set before spoiled is closed
	spoiled chan struct{} // closed when something was found spoiled
}

func (db *database) spoil(err error) {
	db.once.Do(func() {
		db.damage = db.explain(fmt.Errorf("read database %s: %w", db.dir, err))
		close(db.spoiled)
	})
}

// watch ends with an error when something spoiled is found: whatever asked for it has failed or will, now or later.
func (db *database) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-db.spoiled:
		return db.damage
	}
}

// errSpoiled is wrapped by what this package finds damaged in the database.
var errSpoiled = errors.New("the data folder is damaged")

// explain says what to do about a database that is damaged. Everything in it but the outbox is the network's too.
func (db *database) explain(err error) error {
	if !pebble.IsCorruptionError(err) && !errors.Is(err, errSpoiled) && !errors.Is(err, driver.ErrDamaged) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	what, _, _ := strings.Cut(err.Error(), "\n") // the database's errors go on for pages
	return &spoiledError{fmt.Sprintf("%s; move %s away, keep %s (what this node has signed), and start again: the chain is fetched from the peers; what waited in the outbox must be submitted again",
		what, db.dir, filepath.Join(filepath.Dir(db.dir), "consensus")), err}
}

// spoiledError is an error with other words.
type spoiledError struct {
	text string
	err  error
}

func (e *spoiledError) Error() string { return e.text }

func (e *spoiledError) Unwrap() error { return e.err }

// quietPebble drops the database's chatter; what it cannot go on after is still fatal.
type quietPebble struct{}

func (quietPebble) Infof(string, ...any)  {}
func (quietPebble) Errorf(string, ...any) {}
func (quietPebble) Fatalf(format string, args ...any) {
	panic("database: " + fmt.Sprintf(format, args...))
}

func prefixes(list []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("shared_networks: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}
