package driver

import (
	"log/slog"
	"sync"
	"time"

	"github.com/metanode/metanode/internal/sign"
)

// foreignLog says at most once a minute that somebody speaks another chain's language: a node with the wrong genesis
// would otherwise fill the log with each of its messages.
type foreignLog struct {
	mu   sync.Mutex // guards last
	last time.Time
}

func (f *foreignLog) warn(log *slog.Logger, from sign.PublicKey, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.last.IsZero() || now.Sub(f.last) > time.Minute {
		f.last = now
		log.Warn("message of another chain or version refused; compare the genesis and the release of both nodes", "node", from.Short(), "reason", err)
	}
}
