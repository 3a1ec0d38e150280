package node

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLogIsRotatedAndBounded writes more than the files may hold together.
func TestLogIsRotatedAndBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var also bytes.Buffer
	log, closer, err := NewLogger(LogConfig{Dir: dir, Level: slog.LevelInfo, MaxSizeMB: 1, MaxFiles: 2, Also: &also})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	log.Debug("below the level")
	long := strings.Repeat("x", 64<<10)
	for range 5 * 16 {
		log.Info("a line", "long", long)
	}
	log.Warn("the last line", "n", 7)

	// Old files are removed by a goroutine of the rotation.
	late := time.Now().Add(10 * time.Second)
	for {
		files, err := filepath.Glob(filepath.Join(dir, "node*.log"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 3 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the log's files are %v; want node.log and 2 old ones", files)
		}
		time.Sleep(10 * time.Millisecond) // a poll's pause, not a synchronisation
	}
	raw, err := os.ReadFile(filepath.Join(dir, "node.log"))
	if err != nil || len(raw) > 1<<20 {
		t.Fatalf("node.log has %d bytes, %v; want at most a megabyte", len(raw), err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	var last struct {
		Msg, Level string
		N          int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Msg != "the last line" || last.Level != "WARN" || last.N != 7 {
		t.Errorf("the last line is %.200q: %v", lines[len(lines)-1], err)
	}
	if strings.Contains(also.String(), "below the level") || !strings.Contains(also.String(), "the last line") {
		t.Error("standard error does not say the same")
	}
}
