package p2p

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	peersFileName  = "peers.json"
	maxSavedPeers  = 256
	maxSavedAddrs  = 8
	peersFileBytes = 1 << 20
	savedPeerAge   = 30 * 24 * time.Hour // a peer not seen for so long is forgotten
)

// peersFile remembers the last good peers of one network. The file is replaced whole, so that a crash leaves the old
// one or the new one. It is a hint: what it says is proved by the handshake when the peer is dialed.
type peersFile struct {
	path    string
	network string

	mu    sync.Mutex
	peers map[peer.ID]savedPeer
	dirty bool
}

type savedPeer struct {
	ID    string    `json:"id"`
	Addrs []string  `json:"addrs"`
	Seen  time.Time `json:"seen"`
}

type savedPeers struct {
	Network string      `json:"network"`
	Peers   []savedPeer `json:"peers"`
}

// openPeersFile reads the file if there is one. One that cannot be understood, or is of another network, is as good as
// none: it is written anew.
func openPeersFile(dir, network string) (*peersFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("p2p: data folder: %w", err)
	}
	f := &peersFile{path: filepath.Join(dir, peersFileName), network: network, peers: map[peer.ID]savedPeer{}}
	r, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("p2p: read saved peers: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, peersFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("p2p: read saved peers %s: %w", f.path, err)
	}
	f.load(b, time.Now())
	return f, nil
}

func (f *peersFile) load(b []byte, now time.Time) {
	var in savedPeers
	if len(b) > peersFileBytes || json.Unmarshal(b, &in) != nil || in.Network != f.network {
		return
	}
	for _, s := range in.Peers {
		id, err := peer.Decode(s.ID)
		if err != nil || len(f.peers) >= maxSavedPeers || now.Sub(s.Seen) > savedPeerAge {
			continue
		}
		if _, ok := PublicKey(id); !ok {
			continue
		}
		var addrs []string
		for _, a := range s.Addrs {
			if m, err := ma.NewMultiaddr(a); err == nil && len(addrs) < maxSavedAddrs {
				addrs = append(addrs, m.String())
			}
		}
		if len(addrs) > 0 {
			f.peers[id] = savedPeer{ID: s.ID, Addrs: addrs, Seen: s.Seen}
		}
	}
}

// seen notes a good peer and the addresses it listens on.
func (f *peersFile) seen(id peer.ID, addrs []ma.Multiaddr, now time.Time) {
	s := savedPeer{ID: id.String(), Seen: now.UTC().Truncate(time.Second)}
	for _, a := range addrs {
		if len(s.Addrs) < maxSavedAddrs {
			s.Addrs = append(s.Addrs, a.String())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers[id] = s
	f.dirty = true
	if len(f.peers) > maxSavedPeers {
		oldest := id
		for k, v := range f.peers {
			if v.Seen.Before(f.peers[oldest].Seen) {
				oldest = k
			}
		}
		delete(f.peers, oldest)
	}
}

// list is the peers, last seen first.
func (f *peersFile) list() []peer.AddrInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.sorted()
	out := make([]peer.AddrInfo, 0, len(all))
	for _, s := range all {
		id, err := peer.Decode(s.ID)
		if err != nil {
			continue
		}
		info := peer.AddrInfo{ID: id}
		for _, a := range s.Addrs {
			if m, err := ma.NewMultiaddr(a); err == nil {
				info.Addrs = append(info.Addrs, m)
			}
		}
		out = append(out, info)
	}
	return out
}

func (f *peersFile) sorted() []savedPeer {
	all := make([]savedPeer, 0, len(f.peers))
	for _, s := range f.peers {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b savedPeer) int {
		if c := b.Seen.Compare(a.Seen); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// save writes the file if something changed since it was last written. It is durable on return.
func (f *peersFile) save() error {
	f.mu.Lock()
	if !f.dirty {
		f.mu.Unlock()
		return nil
	}
	f.dirty = false
	b, err := json.MarshalIndent(savedPeers{Network: f.network, Peers: f.sorted()}, "", "  ")
	f.mu.Unlock()
	if err == nil {
		err = replaceFile(f.path, append(b, '\n'))
	}
	if err != nil {
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
		return fmt.Errorf("save peers: %w", err)
	}
	return nil
}

// replaceFile puts b in place of path at once: file and folder are synced before it returns.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	w, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err == nil {
		err = w.Sync()
	}
	if e := w.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
