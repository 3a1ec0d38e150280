package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/metanode/metanode/bench/measure"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// A raw stream is what the fetch of a blob is held against: bytes from the memory of one process to another, over the same
// hosts, with nothing read from a disk or written to one, and nothing hashed.
const (
	rawNetwork = "raw"
	rawProto   = "raw/1"
	rawPiece   = 256 << 10
)

// serveSource is the process that sends: each connection says how many bytes it wants. The file at path gets its address
// once it can be dialed.
func serveSource(ctx context.Context, path string) error {
	cfg, err := hostConfig(rawNetwork)
	if err != nil {
		return err
	}
	h, err := p2p.New(cfg)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.Listener(rawProto)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := os.WriteFile(path+".new", []byte(h.Addrs()[0]), 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		serving.Go(func() {
			defer c.Close()
			_ = sendRaw(c) // the one who reads counts the bytes
		})
	}
}

func sendRaw(c net.Conn) error {
	var ask [8]byte
	if _, err := io.ReadFull(c, ask[:]); err != nil {
		return err
	}
	piece := make([]byte, rawPiece)
	for left := binary.BigEndian.Uint64(ask[:]); left > 0; {
		n, err := c.Write(piece[:min(left, rawPiece)])
		if err != nil {
			return err
		}
		left -= uint64(n)
	}
	return nil
}

// source is that process, and the host that asks it.
type source struct {
	proc *measure.Process
	host *p2p.Host
	peer sign.PublicKey
}

func (b *bench) startSource(ctx context.Context) (_ *source, err error) {
	dir, err := b.home("raw")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	at := dir + "/address"
	s := &source{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.proc, err = measure.Start(dir+"/log", []string{self, "-source", at}); err != nil {
		return nil, err
	}
	var address []byte
	err = poll(ctx, time.Minute, 5*time.Millisecond, "a source of raw bytes", func() (bool, error) {
		var err error
		address, err = os.ReadFile(at)
		return err == nil, s.proc.Ended()
	})
	if err != nil {
		return nil, err
	}
	cfg, err := hostConfig(rawNetwork)
	if err != nil {
		return nil, err
	}
	cfg.Client = true
	if s.host, err = p2p.New(cfg); err != nil {
		return nil, err
	}
	s.peer, err = s.host.Connect(ctx, string(address))
	return s, err
}

func (s *source) stop() {
	if s.host != nil {
		_ = s.host.Close()
	}
	if s.proc != nil {
		s.proc.Interrupt()
		s.proc.Stop()
	}
}

// fetch is the time in which so many bytes come over one stream.
func (s *source) fetch(ctx context.Context, bytes int64) (time.Duration, error) {
	c, err := s.host.DialStream(ctx, s.peer, rawProto)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	begin := time.Now()
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(bytes))); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, rawPiece))
	if err == nil && n != bytes {
		err = fmt.Errorf("%d bytes of a raw stream came, want %d", n, bytes)
	}
	return time.Since(begin), err
}
