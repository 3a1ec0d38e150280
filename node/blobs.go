package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/blob"
)

// blobs is the node's blob store and the exchange with its peers, as the runner, the API and the cage see them.
type blobs struct {
	self     sign.PublicKey
	store    *blob.Store
	exchange *p2p.Exchange
	host     *p2p.Host
	ledger   *ledger
}

// Path implements cage.Files.
func (b *blobs) Path(d digest.Digest) (string, error) { return b.store.Path(context.Background(), d) }

// Ensure makes bytes present and pinned: from the disk, else from the chain's holders, else from any peer.
func (b *blobs) Ensure(ctx context.Context, ref enc.BlobRef, reason string) error {
	if err := b.fetch(ctx, ref); err != nil {
		return err
	}
	if strings.HasPrefix(reason, runningPrefix) {
		b.store.Use(ref.Digest, reason) // an execution reads it by its path
		if len(b.store.Pins(ref.Digest)) > 0 {
			return nil // held anyway, for longer than an execution lasts: no need to write that down for each one
		}
	}
	return b.store.PinFile(ref.Digest, reason)
}

// runningPrefix begins the reasons of pins that last as long as an execution.
const runningPrefix = "job/"

// fetch makes bytes present.
func (b *blobs) fetch(ctx context.Context, ref enc.BlobRef) error {
	if size, ok := b.store.Size(ref.Digest); ok {
		if size != ref.Bytes {
			return fmt.Errorf("blob %s has %d bytes, not the %d that were announced", ref.Digest.Short(), size, ref.Bytes)
		}
		return nil
	}
	return b.exchange.Fetch(ctx, ref.Digest, ref.Bytes, b.providers(ref.Digest))
}

// providers lists who may have a blob, the likeliest first: the holders that the chain knows, then every peer.
func (b *blobs) providers(d digest.Digest) []sign.PublicKey {
	var list []sign.PublicKey
	add := func(keys ...sign.PublicKey) {
		for _, k := range keys {
			if k != b.self && !slices.Contains(list, k) {
				list = append(list, k)
			}
		}
	}
	state := b.ledger.head.Load().state
	if manifest, _, ok := state.BlobManifest(d); ok {
		if m, ok := state.Manifest(manifest); ok {
			add(m.Held...)
		}
	}
	for _, p := range b.host.Peers() {
		add(p.Key)
	}
	return list
}

// read gives a small blob, fetched if need be.
func (b *blobs) read(ctx context.Context, ref enc.BlobRef) ([]byte, error) {
	if err := b.fetch(ctx, ref); err != nil {
		return nil, err
	}
	return readBlob(ctx, b.store, ref.Digest)
}

// readBlob gives a blob that is here; of a large one, its beginning.
func readBlob(ctx context.Context, store *blob.Store, d digest.Digest) ([]byte, error) {
	f, err := store.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxLocalOutput))
}

// Adopt takes a local file into the store.
func (b *blobs) Adopt(ctx context.Context, path string, ref enc.BlobRef, reason string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.store.PutExpect(ctx, f, ref.Digest, ref.Bytes, reason)
}

// Put stores bytes.
func (b *blobs) Put(ctx context.Context, raw []byte, reason string) error {
	_, err := b.store.Put(ctx, bytes.NewReader(raw), uint64(len(raw)), reason)
	return err
}

// Release drops every pin under a reason.
func (b *blobs) Release(reason string) error {
	b.store.Unuse(reason)
	return b.store.UnpinAll(reason)
}

// Reasons lists the reasons with a prefix under which something is pinned.
func (b *blobs) Reasons(prefix string) []string { return b.store.Reasons(prefix) }
