package node

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
)

// LogConfig says where a node's log goes and how much of it is kept.
type LogConfig struct {
	Dir       string // folder of node.log; "" writes to Also alone
	Level     slog.Level
	MaxSizeMB int       // a file is rotated at this size; 0 means 50
	MaxFiles  int       // rotated files kept; 0 means 5
	Also      io.Writer // a second place, such as standard error; may be nil
}

// NewLogger makes the node's structured logger (JSON lines, one an event) with rotation in the data folder. Close the
// returned closer after the last use.
func NewLogger(c LogConfig) (*slog.Logger, io.Closer, error) {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Dir == "" {
		w := c.Also
		if w == nil {
			w = io.Discard
		}
		return slog.New(slog.NewTextHandler(w, options)), io.NopCloser(nil), nil
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make log folder %s: %w", c.Dir, err)
	}
	if c.MaxSizeMB == 0 {
		c.MaxSizeMB = 50
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = 5
	}
	file := &lumberjack.Logger{Filename: filepath.Join(c.Dir, "node.log"), MaxSize: c.MaxSizeMB, MaxBackups: c.MaxFiles}
	var h slog.Handler = slog.NewJSONHandler(file, options)
	if c.Also != nil {
		h = slog.NewMultiHandler(h, slog.NewTextHandler(c.Also, options))
	}
	return slog.New(h), file, nil
}
