package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// profile prints where the processor time of one of BPI's validators goes at its saturation.
func (b *bench) profile(ctx context.Context) error {
	n, err := b.lab.start(ctx, bpi(4, true, 0, plainBlockTime))
	if err != nil {
		return err
	}
	defer n.stop()
	const seconds = 5
	taken := make(chan error, 1)
	path := filepath.Join(n.dir, "cpu.prof")
	cfg := b.steady(max(b.plan.firstRate, int(b.sat)))
	cfg.For, cfg.Drain = (seconds+2)*time.Second, 0
	go func() {
		taken <- download(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", n.rpc[0], seconds), path)
	}()
	_, _, err = n.load(ctx, cfg)
	if e := <-taken; err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=20", filepath.Join(n.bin, "bpi-kv"), path)
	cmd.Stderr = io.Discard
	top, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	fmt.Fprintf(b.out, "\nSomething falls short. A validator of BPI at %d tx/s spends its processor time in:\n\n```\n%s```\n", cfg.Rate, top)
	return nil
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, resp.Body)
	return err
}
