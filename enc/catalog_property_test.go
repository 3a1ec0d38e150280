package enc

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// catalogInvariants checks that every manifest is there as long as a version stands on it, and what hangs on it as well.
func catalogInvariants(t *testing.T, s *State) {
	t.Helper()
	named, images := map[digest.Digest]uint32{}, map[digest.Digest]uint32{}
	for _, c := range []*catalog{datasetNames, imageNames} {
		versions := 0
		for k := range s.m.Prefix(key(c.heads)) {
			name := string(k[len(c.heads):])
			h, _ := read[nameHead](s, k)
			if !slices.IsSorted(h.Versions) || h.newest() > h.Last {
				t.Fatalf("%s %q: versions %d, the last given is %d", c.what, name, h.Versions, h.Last)
			}
			for _, n := range h.Versions {
				v, ok := s.find(c, name, n)
				if !ok || v.Version != n || v.Name != name || v.Owner != h.Owner {
					t.Fatalf("%s %s@%d: %+v", c.what, name, n, v)
				}
				if named[v.Manifest]++; c == imageNames {
					images[v.Manifest]++
				}
				versions++
			}
		}
		for range s.m.Prefix(key(c.versions)) {
			versions--
		}
		if versions != 0 {
			t.Fatalf("%d versions of a %s astray", versions, c.what)
		}
	}
	blobs := 0
	for k := range s.m.Prefix(key(keyManifests)) {
		m, _ := read[Manifest](s, k)
		if m.Named == 0 || m.Named != named[m.Digest] || m.Images != images[m.Digest] {
			t.Fatalf("manifest %s counts %d versions and %d images, and %d and %d stand on it", m.Digest.Short(), m.Named, m.Images, named[m.Digest], images[m.Digest])
		}
		delete(named, m.Digest)
		for _, b := range m.Blobs {
			if blobs++; !s.has(blobKey(b.Digest, m.Digest)) {
				t.Fatalf("manifest %s: a blob is not known to be its", m.Digest.Short())
			}
		}
	}
	for range s.m.Prefix(key(keyBlobs)) {
		blobs--
	}
	if len(named) != 0 || blobs != 0 {
		t.Fatalf("%d versions stand on no manifest, %d blobs astray", len(named), blobs)
	}
	for _, prefix := range []string{keyHoldQueue, keyShort} {
		for k := range s.m.Prefix(key(prefix)) {
			if !s.has(key(keyManifests, k[len(prefix):])) {
				t.Fatalf("%s holds a manifest that is forgotten", prefix)
			}
		}
	}
	for k := range s.m.Prefix(key(keyHolds)) {
		if !s.has(key(keyManifests, k[len(keyHolds)+len(sign.PublicKey{}):])) {
			t.Fatal("a peer is to hold a manifest that is forgotten")
		}
	}
	offers := 0
	for _, n := range s.Nodes() {
		for _, p := range n.Policies {
			if offers++; !s.has(key(keyOffers, p[:], n.Peer[:])) {
				t.Fatalf("node %s offers a policy, and it is not noted", n.Peer.Short())
			}
		}
	}
	for range s.m.Prefix(key(keyOffers)) {
		offers--
	}
	if offers != 0 {
		t.Fatalf("%d offers of policies astray", offers)
	}
}

// randomName publishes or withdraws something.
func (c *chain) randomName(r *rand.Rand) *Command {
	who, n := testKey("client", r.Intn(2)), r.Intn(3)
	switch r.Intn(4) {
	case 0:
		return c.cmd(who, &PublishDataset{Name: fmt.Sprintf("d%d", n), Manifest: testBlob, Blobs: sortedBlobs(testBlob), Holders: uint32(r.Intn(4))})
	case 1:
		other := digest.Sum("d", []byte{byte(r.Intn(2))})
		return c.cmd(who, &PublishDataset{Name: fmt.Sprintf("d%d", n), Manifest: other, Blobs: sortedBlobs(other, testBlob)})
	case 2:
		return c.cmd(who, &PublishImage{Name: fmt.Sprintf("d%d", n), Image: []digest.Digest{testImage, testBlob}[r.Intn(2)], Bytes: 10, Holders: uint32(r.Intn(4))})
	}
	catalog := []string{CatalogDatasets, CatalogImages}[r.Intn(2)]
	name := fmt.Sprintf("d%d", n)
	version := uint64(1 + r.Intn(3))
	if list := c.s.standing(catalogNamed(catalog), name); len(list) > 0 && r.Intn(4) > 0 {
		version = list[r.Intn(len(list))]
	}
	return c.cmd(who, &Withdraw{Catalog: catalog, Name: name, Version: version})
}
