package driver_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/metanode/metanode/consensus/driver"
)

// FuzzLogRecord starts a validator from a log that holds one record of any content: it starts, or says why not.
func FuzzLogRecord(f *testing.F) {
	l := newLab(f)
	for i, n := range l.nodes {
		if err := n.begin(l.disks[i]); err != nil {
			f.Fatal(err)
		}
	}
	l.feed(l.nodes, nil)
	stopAll(l.nodes)
	records, err := l.disks[1].ReadLog(l.nodes[1].dir)
	if err != nil || len(records) == 0 {
		f.Fatalf("%d records: %v", len(records), err)
	}
	for _, r := range records {
		f.Add(r)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) == 0 {
			return
		}
		disk := driver.NewFaultDisk()
		if err := disk.WriteLog(filepath.Clean(dir), record); err != nil {
			t.Skip(err) // larger than a record may be
		}
		n := l.newNode(1, dir)
		n.disk, n.store, n.segment = disk, newFaultStore(disk), logSegment
		cfg := n.config()
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
		d, err := driver.New(cfg)
		if err != nil {
			return
		}
		d.Close()
	})
}
