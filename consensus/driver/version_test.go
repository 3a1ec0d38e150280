package driver

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
)

// firstLog is a segment as the first release of the log began it.
func firstLog() []byte {
	raw := make([]byte, 4096)
	copy(raw, "bpiwal1\nsaltsalt")
	binary.BigEndian.PutUint64(raw[16:], 1)
	binary.BigEndian.PutUint32(raw[24:], crc32.Checksum(raw[:24], castagnoli))
	copy(raw[walHeaderSize:], "a record of another form")
	return raw
}

// TestLogOfTheFirstFormatIsRefusedAndNotCalledDamaged: the error names both versions and what to do, and the log stays.
func TestLogOfTheFirstFormatIsRefusedAndNotCalledDamaged(t *testing.T) {
	d := NewFaultDisk()
	name := filepath.Join(logDir, "wal-0000000000000000.seg")
	d.Put(name, firstLog())
	_, _, err := openFaultWAL(d, true)
	var other *consensus.VersionError
	if !errors.As(err, &other) || other.Version != 1 || errors.Is(err, errDamaged) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"version 1", "version 2", "use a bpi release of version 1", name} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if len(d.Bytes()[name]) != 4096 {
		t.Error("the log of another version was touched")
	}
	spoiled := firstLog()
	spoiled[20] ^= 4
	d.Put(name, spoiled)
	if _, _, err := openFaultWAL(d, true); !errors.Is(err, errDamaged) {
		t.Errorf("spoiled: %v", err)
	}
}
