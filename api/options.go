package api

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// MaxWait bounds how long a request may wait for a command to be ordered.
const MaxWait = 30 * time.Second

// Options shape the handler. The zero value of each field means its default.
type Options struct {
	// Local lets callers on a loopback address use the admin routes, as those on the unix socket always may. Leave it
	// off where other users of the machine are not trusted.
	Local bool
	// Admins are the peer ids that may use the admin routes over libp2p, where their key is proved.
	Admins []string
	// RequestsPerSecond and Burst bound each caller's requests: 1000 and 2000. Those on the unix socket are not bounded.
	RequestsPerSecond float64
	Burst             int
	// CallerRequests bounds the requests of one caller that are under way at once: 256. TotalRequests bounds all: 2048.
	CallerRequests int
	TotalRequests  int
	// MaxBlobBytes bounds one upload: 64 GiB. The backend's quota stands besides.
	MaxBlobBytes uint64
	// IOTimeout bounds how long a body or an answer may stand still: 30 s.
	IOTimeout time.Duration
	// Heartbeat is the pause after which a silent stream sends a sign of life: 10 s.
	Heartbeat time.Duration
	// Ready answers /readyz: nil when ready, or why not. Nil means the backend's Status.Ready.
	Ready func() error
	// Metrics is mounted at /metrics; nil means there is no such route.
	Metrics http.Handler
	// Mounts are further routes by their http.ServeMux pattern, such as "POST /submit", under the same limits. They
	// bound their bodies themselves.
	Mounts map[string]http.Handler
	// Log takes what went wrong inside; nil discards it.
	Log *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.RequestsPerSecond < 0 || o.Burst < 0 || o.CallerRequests < 0 || o.TotalRequests < 0 || o.IOTimeout < 0 || o.Heartbeat < 0 {
		return o, errors.New("api options: limits and times must not be negative")
	}
	def(&o.RequestsPerSecond, 1000)
	def(&o.Burst, 2000)
	def(&o.CallerRequests, 256)
	def(&o.TotalRequests, 2048)
	def(&o.MaxBlobBytes, 64<<30)
	def(&o.IOTimeout, ioTimeout)
	def(&o.Heartbeat, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
