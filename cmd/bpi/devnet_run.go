package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// devnet starts, watches and stops the processes of one network. Its methods are called by one goroutine.
type devnet struct {
	dir   string
	state *devnetState
	env   *env

	exited  chan exitedNode // one a process that was started here
	started int
	wait    sync.WaitGroup
	unlock  chan struct{} // closed to let the starter's thread go
}

type exitedNode struct {
	name string
	err  error
}

// start runs one process a peer. On an error the caller calls stop.
func (d *devnet) start() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	me, err := processOf(os.Getpid())
	if err != nil {
		return err
	}
	d.state.Supervisor = me
	d.exited = make(chan exitedNode, len(d.state.Nodes))
	d.unlock = make(chan struct{})
	result := make(chan error, 1)
	// The kernel sends the parent-death signal when the thread that started the child ends, so one thread starts them all
	// and stays.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		for i := range d.state.Nodes {
			if err = d.startNode(self, &d.state.Nodes[i]); err != nil {
				break
			}
		}
		result <- err
		<-d.unlock
	}()
	if err := <-result; err != nil {
		return err
	}
	return d.state.write(d.dir)
}

func (d *devnet) startNode(self string, n *devnetNode) error {
	if err := os.MkdirAll(filepath.Join(n.Dir, "log"), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(n.stderrPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "node", "start", "--config", filepath.Join(n.Dir, "config.toml"))
	cmd.Env = nodeEnv(n.Dir)
	cmd.Stderr = log
	cmd.Stdout = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !d.state.Detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	if n.Process, err = processOf(cmd.Process.Pid); err != nil {
		n.Process = process{Pid: cmd.Process.Pid}
	}
	d.started++
	d.wait.Add(1)
	go func() {
		defer d.wait.Done()
		d.exited <- exitedNode{n.Name, cmd.Wait()}
	}()
	return nil
}

// nodeEnv is the environment of a devnet's peer: without the settings meant for the command line that started it.
func nodeEnv(home string) []string {
	env := []string{"BPI_HOME=" + home}
	for _, k := range []string{"PATH", "HOME", "TMPDIR", "LANG", "GOMAXPROCS", "GOMEMLIMIT", "GODEBUG", "GOCOVERDIR", "GOTRACEBACK"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}

func (n *devnetNode) stderrPath() string { return filepath.Join(n.Dir, "log", "stderr.log") }

// waitReady returns when every peer answers /readyz, or says which did not.
func (d *devnet) waitReady(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, n := range d.state.Nodes {
		for {
			last := ready(ctx, n.Socket)
			if last == nil {
				break
			}
			select {
			case x := <-d.exited:
				d.started--
				return fmt.Errorf("%s ended while it started: %v", x.name, x.err)
			case <-ctx.Done():
				return fail(exitTimeout, "%s is not ready: %v", n.Name, last)
			case <-tick.C:
			}
		}
	}
	return nil
}

// ready asks a node's readiness over its unix socket.
func ready(ctx context.Context, socket string) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/readyz", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(body))
	}
	return nil
}

// supervise returns when ctx ends or a peer does. A peer that ends by itself leaves the others running, as in a real
// network, and is reported.
func (d *devnet) supervise(ctx context.Context) error {
	for d.started > 0 {
		select {
		case <-ctx.Done():
			return nil
		case x := <-d.exited:
			d.started--
			d.env.say("%s ended: %v; the others go on", x.name, x.err)
		}
	}
	return errors.New("all peers have ended")
}

// stop ends all processes, those of another bpi too, and removes the folder unless it is to be kept.
func (d *devnet) stop(keep bool) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, n := range d.state.Nodes {
		wg.Go(func() {
			if err := n.Process.end(10 * time.Second); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", n.Name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	d.wait.Wait()
	if d.unlock != nil {
		close(d.unlock)
		d.unlock = nil
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	mark := filepath.Join(d.dir, keepMark)
	if _, err := os.Stat(mark); err == nil {
		keep = true
		if err := os.Remove(mark); err != nil {
			return err
		}
	}
	if keep {
		return nil
	}
	if _, err := os.Stat(d.dir); errors.Is(err, os.ErrNotExist) {
		return nil // the supervisor was faster
	}
	return removeDevnet(d.dir)
}

// showLogs gives the last lines that each peer wrote to its standard error.
func (d *devnet) showLogs() {
	for _, n := range d.state.Nodes {
		raw, err := os.ReadFile(n.stderrPath())
		if err != nil || len(raw) == 0 {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
		for _, l := range lines[max(0, len(lines)-5):] {
			d.env.say("%s: %s", n.Name, clean(string(l)))
		}
	}
}

// printExports writes what a shell needs to use the network.
func (d *devnet) printExports() {
	first := d.state.Nodes[0]
	fmt.Fprintf(d.env.out, "export BPI_HOME=%s\n", shellQuote(d.env.home))
	fmt.Fprintf(d.env.out, "export BPI_API=unix://%s\n", shellQuote(first.Socket))
	for _, n := range d.state.Nodes {
		d.env.say("%s  %s  api http://%s  gateway http://%s", n.Name, n.Address, n.API, n.Gateway)
	}
}

// shellQuote quotes s for a POSIX shell, where it needs to be.
func shellQuote(s string) string {
	safe := true
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '/' && r != '.' && r != '-' && r != '_' {
			safe = false
		}
	}
	if safe {
		return s
	}
	var b bytes.Buffer
	b.WriteByte('\'')
	for _, r := range s {
		if r == '\'' {
			b.WriteString(`'\''`)
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}
