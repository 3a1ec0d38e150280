package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/metanode/metanode/cage"
)

const (
	startTimeout = 60 * time.Second // for warm_up
	killTimeout  = 5 * time.Second  // for a killed job to be reaped, before its zygote is killed
)

// zygote is a supervisor with its zygote, and the runs in flight there.
type zygote struct {
	key, class string
	cold       bool
	users      int       // owned by Engine.mu
	used       time.Time // owned by Engine.mu

	ready    chan struct{} // closed once started, or not
	startErr error         // set before ready is closed
	gone     chan struct{} // closed when the supervisor has been reaped

	cmd     *exec.Cmd
	control *net.UnixConn // to the zygote
	log     tail

	mountMu sync.Mutex // one PREPARE at a time
	mounts  *net.UnixConn

	mu   sync.Mutex
	next uint64
	wait map[uint64]chan packet // nil once the zygote is gone
}

func newZygote(key, class string, cold bool) *zygote {
	return &zygote{key: key, class: class, cold: cold, ready: make(chan struct{}), gone: make(chan struct{}), wait: map[uint64]chan packet{}}
}

// start launches the supervisor and waits until the zygote is warm.
func (z *zygote) start(supervisor, stage string, flags uint32, im image) {
	defer close(z.ready)
	if err := z.launch(supervisor, stage, flags, im); err != nil {
		z.startErr = fmt.Errorf("start a cage for engine %s: %w", im.digest.Short(), err)
		if z.cmd == nil {
			close(z.gone)
			return
		}
		z.kill()
		<-z.gone
		if note := z.log.String(); note != "" {
			z.startErr = fmt.Errorf("%w: it says: %s", z.startErr, note)
		}
	}
}

func (z *zygote) launch(supervisor, stage string, flags uint32, im image) error {
	mounts, theirMounts, err := socketPair()
	if err != nil {
		return err
	}
	defer theirMounts.Close()
	control, theirControl, err := socketPair()
	if err != nil {
		mounts.Close()
		return err
	}
	defer theirControl.Close()
	mode := "zygote"
	if z.cold {
		mode = "cold"
	}
	cmd := exec.Command(supervisor, "serve", stage, strconv.FormatUint(uint64(flags), 10), mode)
	cmd.Env = cage.FixedEnviron(z.class)
	cmd.ExtraFiles = []*os.File{theirMounts, theirControl, im.file}
	cmd.Stdout, cmd.Stderr = &z.log, &z.log
	cmd.WaitDelay = killTimeout
	if err := cmd.Start(); err != nil {
		mounts.Close()
		control.Close()
		return err
	}
	z.cmd, z.mounts, z.control = cmd, mounts, control
	go func() {
		_ = cmd.Wait() // its exit code says no more than its end
		z.lose()
		control.Close()
		mounts.Close()
		close(z.gone)
	}()
	theirControl.Close()
	if err := control.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	p, files, err := receive(control)
	closeAll(files)
	if err != nil {
		return fmt.Errorf("wait for its first word: %w", err)
	}
	if p.kind != kindHello || p.status != wireVersion {
		return fmt.Errorf("the engine image speaks version %d of the cage's protocol, this program %d", p.status, wireVersion)
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	go z.listen()
	return nil
}

// listen hands results to those who wait for them. It ends with the zygote.
func (z *zygote) listen() {
	for {
		p, files, err := receive(z.control)
		closeAll(files)
		if err != nil {
			z.lose()
			z.kill()
			return
		}
		z.mu.Lock()
		c := z.wait[p.id]
		if p.kind == kindDone && c != nil {
			delete(z.wait, p.id)
			c <- p // holds one
		}
		z.mu.Unlock()
	}
}

// lose tells all who wait that the zygote is gone.
func (z *zygote) lose() {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, c := range z.wait {
		close(c)
	}
	z.wait = nil
}

// dead reports whether the zygote can take no more jobs.
func (z *zygote) dead() bool {
	select {
	case <-z.ready:
	default:
		return false
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.startErr != nil || z.wait == nil
}

func (z *zygote) kill() {
	_ = z.cmd.Process.Kill() // an error means that it has ended already
}

// end kills the zygote with all its jobs and waits until they are gone.
func (z *zygote) end() {
	<-z.ready
	if z.cmd != nil {
		z.kill()
	}
	<-z.gone
}

// errZygoteLost is trouble with this machine: the next run starts another zygote.
var errZygoteLost = errors.New("the engine's process was killed from outside while it ran this job; run it again")

// run gives j to the zygote and waits for its end. The program is killed when wall has passed or ctx has ended.
func (z *zygote) run(ctx context.Context, j *job, im image, wall time.Duration) (packet, error) {
	root, err := z.prepare(j)
	if err != nil {
		return packet{}, err
	}
	defer root.Close()
	z.mu.Lock()
	if z.wait == nil {
		z.mu.Unlock()
		return packet{}, errZygoteLost
	}
	z.next++
	id := z.next
	done := make(chan packet, 1)
	z.wait[id] = done
	z.mu.Unlock()

	files := []*os.File{j.job, j.stdin, j.stdout, j.stderr, root}
	if z.cold {
		files = append(files, im.file)
	}
	if err := send(z.control, &packet{kind: kindRun, id: id}, files...); err != nil {
		return packet{}, fmt.Errorf("%w (%v)", errZygoteLost, err)
	}
	timer := time.NewTimer(wall)
	defer timer.Stop()
	var p packet
	var ok bool
	var stopped error
	select {
	case p, ok = <-done:
	case <-timer.C:
		stopped = &cage.ErrNoResult{Reason: cage.ReasonWall, Detail: fmt.Sprintf("still running after its limit of %v", wall)}
	case <-ctx.Done():
		stopped = ctx.Err()
	}
	if stopped != nil {
		if err := send(z.control, &packet{kind: kindKill, id: id}); err != nil {
			z.kill()
		}
		timer.Reset(killTimeout)
		select {
		case p, ok = <-done:
		case <-timer.C:
			z.kill()
			<-z.gone
			return packet{}, stopped
		}
		if !ok {
			return packet{}, errors.Join(stopped, errZygoteLost)
		}
		return packet{}, stopped
	}
	if !ok {
		return packet{}, errZygoteLost
	}
	if err := p.err(); err != nil {
		return packet{}, fmt.Errorf("build the cage around the program: %w", err)
	}
	return p, nil
}

// prepare has the supervisor compose j's root; it sets j.outDir.
func (z *zygote) prepare(j *job) (*os.File, error) {
	z.mountMu.Lock()
	defer z.mountMu.Unlock()
	if err := send(z.mounts, &packet{kind: kindPrepare}, j.mounts); err != nil {
		return nil, fmt.Errorf("%w (%v)", errZygoteLost, err)
	}
	p, files, err := receive(z.mounts)
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", errZygoteLost, err)
	}
	if err := p.err(); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("compose the program's root: %w", err)
	}
	if len(files) != 2 {
		closeAll(files)
		return nil, fmt.Errorf("compose the program's root: the supervisor sent %d descriptors; want 2", len(files))
	}
	j.outDir = files[1]
	return files[0], nil
}

// tail keeps the last words of a process, for error messages.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - 2048; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(t.b)), "?")
}
