package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// registrar keeps what the chain knows of this node equal to what is so: it sends RegisterNode whenever they differ.
type registrar struct {
	n        *Node
	memory   uint64 // half of the machine's: for executions, if the configuration says nothing
	draining atomic.Bool
	changed  chan struct{} // capacity 1
}

// registerEvery is how long an unanswered registration waits before it is sent again.
const registerEvery = 3 * time.Second

// engineEvery is how long a failed fetch of the engine waits before the next.
const engineEvery = 200 * time.Millisecond

func newRegistrar(n *Node) *registrar {
	return &registrar{n: n, memory: machineMemory() / 2, changed: make(chan struct{}, 1)}
}

// drain makes the node take no more work, or take it again.
func (r *registrar) drain(on bool) {
	r.draining.Store(on)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// offer is a policy that a node can hold work to.
type offer struct {
	mode   string
	digest digest.Digest
}

// offers are the shipped policies. They are wanted after every block, and a digest takes the text of the policy.
var offers = sync.OnceValue(func() (list []offer) {
	for _, p := range cage.Policies() {
		list = append(list, offer{p.Mode, p.Digest()})
	}
	return list
})

// wanted is what the chain should know.
func (r *registrar) wanted() enc.RegisterNode {
	n := r.n
	operator, _ := n.admitted()
	reg := enc.RegisterNode{
		Operator: operator, Engines: []digest.Digest{}, Policies: []digest.Digest{}, CPUClass: analytics.CPUClass,
		Labels: []string{}, Draining: r.draining.Load(),
	}
	if n.missing != "" {
		reg.Reason = clipText(n.missing, 256)
		return reg
	}
	reg.Slots, reg.Memory = uint32(n.cfg.Cage.SlotCount()), n.cfg.Cage.MemoryBytes
	if reg.Memory == 0 {
		reg.Memory = r.memory
	}
	for _, p := range offers() {
		if n.cage.ReadyFor(p.mode) == nil {
			reg.Policies = append(reg.Policies, p.digest)
		}
	}
	slices.SortFunc(reg.Policies, digest.Digest.Compare)
	if engine, _, ok := n.ledger.head.Load().state.Engine(enc.KindSQL); ok && n.store.Has(engine) {
		reg.Engines = append(reg.Engines, engine)
	}
	return reg
}

// registered reports whether the chain knows what is wanted.
func (r *registrar) registered() bool {
	w := r.wanted()
	node, ok := r.n.ledger.head.Load().state.Node(r.n.keys.node.Public())
	return ok && node.Registered && slices.Equal(node.Engines, w.Engines) && slices.Equal(node.Policies, w.Policies) &&
		node.CPUClass == w.CPUClass && node.Slots == w.Slots && node.Memory == w.Memory && node.Draining == w.Draining &&
		node.Reason == w.Reason
}

// run fetches the engine in force, and registers until the chain and this machine agree, whatever changes.
func (r *registrar) run(ctx context.Context) error {
	if !r.n.executes {
		<-ctx.Done()
		return nil
	}
	var sent time.Time
	var last []byte
	for {
		pause := registerEvery
		if !r.fetchEngine(ctx) {
			pause = engineEvery
		}
		want := r.wanted()
		now := canon.Must(&want)
		if !r.registered() && (!bytes.Equal(now, last) || time.Since(sent) >= registerEvery) {
			if err := r.n.command.Command(ctx, enc.KindRegisterNode, now); err != nil {
				r.n.log.Warn("registration not sent; tried again", "err", err)
			}
			sent, last = time.Now(), now
		}
		_, changed := r.n.ledger.watch()
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
		case <-changed:
		case <-time.After(pause):
		}
	}
}

// fetchEngine makes the engine in force present, and reports whether there is nothing left to fetch. It needs peers, so
// it fails now and then in the first moments.
func (r *registrar) fetchEngine(ctx context.Context) bool {
	engine, size, ok := r.n.ledger.head.Load().state.Engine(enc.KindSQL)
	if !ok || r.n.missing != "" || r.n.store.Has(engine) {
		return true
	}
	err := r.n.blobs.Ensure(ctx, enc.BlobRef{Digest: engine, Bytes: size}, enginePin)
	if err != nil && ctx.Err() == nil {
		r.n.log.Info("the engine is not here yet; fetching goes on", "engine", engine.Short(), "err", err)
	}
	return err == nil
}

// loadEngines takes the engine files that the configuration names into the blob store.
func (n *Node) loadEngines(ctx context.Context) error {
	for _, path := range n.cfg.EngineFiles {
		if err := n.loadEngine(ctx, path); err != nil {
			return fmt.Errorf("engine file %s: %w", path, err)
		}
	}
	return nil
}

func (n *Node) loadEngine(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	d := digest.Digest(h.Sum(nil))
	if !n.store.Has(d) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return n.store.PutExpect(ctx, f, d, uint64(info.Size()), enginePin)
	}
	return n.store.PinFile(d, enginePin)
}

// machineMemory is the bytes of memory of this machine, or 4 GiB where that cannot be told.
func machineMemory() uint64 {
	raw, err := os.ReadFile("/proc/meminfo")
	var kib uint64
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "MemTotal: %d kB", &kib)
	}
	if err != nil || kib == 0 {
		return 4 << 30
	}
	return kib << 10
}

func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
