package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

// daemon is one kubo node, with its blocks on disk as kubo keeps them by default: flatfs that syncs. It knows nobody but
// whom it is told to dial.
type daemon struct {
	proc *measure.Process
	repo string
	api  string // host:port
}

func (b *bench) startKubo(ctx context.Context) (_ *daemon, err error) {
	repo, err := b.home("kubo")
	if err != nil {
		return nil, err
	}
	d := &daemon{repo: repo}
	if _, err := b.kuboCommand(ctx, repo, "init", "--empty-repo"); err != nil {
		return nil, err
	}
	for key, value := range map[string]string{
		"Bootstrap": `[]`, "Addresses.API": `"/ip4/127.0.0.1/tcp/0"`, "Addresses.Gateway": `null`, "Addresses.Swarm": `["/ip4/127.0.0.1/tcp/0"]`,
		"Discovery.MDNS.Enabled": `false`, "Routing.Type": `"none"`, "AutoConf.Enabled": `false`,
	} {
		if _, err := b.kuboCommand(ctx, repo, "config", "--json", key, value); err != nil {
			return nil, err
		}
	}
	if d.proc, err = measure.Start(filepath.Join(repo, "bench.log"), []string{b.kubo, "daemon"}, "IPFS_PATH="+repo, "IPFS_TELEMETRY=off"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.stop()
		}
	}()
	err = poll(ctx, time.Minute, 20*time.Millisecond, "a kubo daemon that answers", func() (bool, error) {
		if err := d.proc.Ended(); err != nil {
			return false, err
		}
		raw, err := os.ReadFile(filepath.Join(repo, "api"))
		if err != nil {
			return false, nil
		}
		if parts := strings.Split(strings.TrimSpace(string(raw)), "/"); len(parts) >= 5 {
			d.api = parts[2] + ":" + parts[4]
		}
		_, err = d.call(ctx, "id", nil)
		return err == nil, nil
	})
	return d, err
}

func (b *bench) kuboCommand(ctx context.Context, repo string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.kubo, args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+repo, "IPFS_TELEMETRY=off")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ipfs %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// call is one call of kubo's RPC.
func (d *daemon) call(ctx context.Context, name string, args url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.api+"/api/v0/"+name+"?"+args.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("kubo answers %s to %s: %.300s", resp.Status, name, raw)
	}
	return raw, err
}

func (d *daemon) stop() {
	d.proc.Interrupt()
	d.proc.Stop()
	os.RemoveAll(d.repo)
}

// dial connects a daemon with another.
func (d *daemon) dial(ctx context.Context, other *daemon) error {
	raw, err := other.call(ctx, "id", nil)
	if err != nil {
		return err
	}
	var id struct{ Addresses []string }
	if err := json.Unmarshal(raw, &id); err != nil || len(id.Addresses) == 0 {
		return fmt.Errorf("kubo's own addresses: %w: %.200s", err, raw)
	}
	_, err = d.call(ctx, "swarm/connect", url.Values{"arg": id.Addresses[:1]})
	return err
}

// take makes a daemon fetch and pin a DAG, and gives the time; drop makes it forget all that it has.
func (d *daemon) take(ctx context.Context, cid string) (time.Duration, error) {
	begin := time.Now()
	_, err := d.call(ctx, "pin/add", url.Values{"arg": {cid}})
	return time.Since(begin), err
}

func (d *daemon) drop(ctx context.Context, cid string) error {
	if _, err := d.call(ctx, "pin/rm", url.Values{"arg": {cid}}); err != nil {
		return err
	}
	_, err := d.call(ctx, "repo/gc", nil)
	return err
}
