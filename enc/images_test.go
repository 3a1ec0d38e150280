package enc

import (
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

func TestImageIsPublishedAndHeldLikeADataset(t *testing.T) {
	c := ready(t, 4, 2)
	c.block(c.cmd(c.client, &PublishImage{Name: "base", Image: testImage, Bytes: 10, Holders: 2}))
	c.refused(0)
	if e := c.events[len(c.events)-1]; e.Kind != EventImage || e.Subject != testImage || e.Decision != "accepted" {
		t.Errorf("event %+v", e)
	}
	c.block()
	c.block()
	m, ok := c.s.Manifest(testImage)
	if !ok || len(m.Assigned) != 2 || len(m.Blobs) != 1 || m.Blobs[0] != (BlobRef{Digest: testImage, Bytes: 10}) {
		t.Fatalf("%+v", m)
	}
	for _, p := range m.Assigned {
		c.block(c.cmd(c.key(p), &HoldBlobs{Manifests: []digest.Digest{testImage}}))
	}
	if c.count(EventHeld) != 1 {
		t.Error("held by all that were asked, and nobody says so")
	}
	gone := m.Assigned[0]
	for i, k := range c.nodes {
		if k.Public() == gone {
			reg := c.register(i, 2)
			reg.Draining = true
			c.block(c.cmd(k, reg))
		}
	}
	c.block()
	if m, _ = c.s.Manifest(testImage); len(m.Assigned) != 2 || slices.Contains(m.Assigned, gone) {
		t.Errorf("a draining holder is not replaced: %+v", m)
	}
	v, ok := c.s.Image("base", 0)
	if !ok || v.Version != 1 || v.Manifest != testImage || v.Bytes != 10 || v.Owner != c.client.Public() {
		t.Errorf("%+v", v)
	}
	if n, ok := c.s.ImageBytes(testImage); !ok || n != 10 {
		t.Errorf("%d bytes, %v", n, ok)
	}
}

func TestImageNameBelongsToItsFirstPublisher(t *testing.T) {
	c := ready(t, 3, 1)
	other := digest.Of([]byte("other image"))
	publish := func(key int, image digest.Digest) {
		c.block(c.cmd(testKey("client", key), &PublishImage{Name: "users", Image: image, Bytes: 10}))
	}
	publish(1, testImage) // the data set of that name is client 0's: names of images are apart
	c.refused(0)
	publish(0, other)
	if c.refused(1); !strings.Contains(c.refusal().Reason, testKey("client", 1).Public().String()) {
		t.Errorf("the reason does not name the owner: %q", c.refusal().Reason)
	}
	publish(1, testImage)
	if e := c.events[len(c.events)-1]; e.Kind != EventImage || e.Decision != "unchanged" {
		t.Errorf("event %+v", e)
	}
	publish(1, other)
	if v, ok := c.s.Image("users", 0); !ok || v.Version != 2 || v.Manifest != other {
		t.Errorf("%+v", v)
	}
	if l := c.s.Images("", 10); len(l) != 1 || l[0].Name != "users" || l[0].Version != 2 {
		t.Errorf("%+v", l)
	}
	if _, ok := c.s.ImageBytes(testList); ok {
		t.Error("a data set's manifest counts as an image")
	}
	c.block(c.cmd(c.client, &PublishImage{Name: "lie", Image: testImage, Bytes: 11}))
	if c.refused(1); !strings.Contains(c.refusal().Reason, "other blobs") {
		t.Errorf("%q", c.refusal().Reason)
	}
	for name, p := range map[string]*PublishImage{
		"name": {Name: "Base", Image: testImage, Bytes: 1}, "digest": {Name: "base", Bytes: 1}, "empty": {Name: "base", Image: testImage},
		"huge": {Name: "base", Image: testImage, Bytes: MaxImageBytes + 1}, "holders": {Name: "base", Image: testImage, Bytes: 1, Holders: MaxHolders + 1},
	} {
		if p.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWithdrawnBytesAreHeldNoMore(t *testing.T) {
	c := imaged(t, 3, 1)
	for range 3 {
		c.block()
	}
	withdraw := func(key int, catalog, name string, version uint64) {
		c.block(c.cmd(testKey("client", key), &Withdraw{Catalog: catalog, Name: name, Version: version}))
	}
	c.block(c.cmd(testKey("client", 1), &PublishImage{Name: "same", Image: testImage, Bytes: 10}))
	for name, w := range map[string]Withdraw{
		"belongs to client key": {Catalog: CatalogImages, Name: "same", Version: 1}, "no image": {Catalog: CatalogImages, Name: "none", Version: 1},
		"no version 2": {Catalog: CatalogImages, Name: "base", Version: 2}, "no data set": {Catalog: CatalogDatasets, Name: "base", Version: 1},
	} {
		withdraw(0, w.Catalog, w.Name, w.Version)
		if c.refused(1); !strings.Contains(c.refusal().Reason, name) {
			t.Errorf("%+v: %q, want %q", w, c.refusal().Reason, name)
		}
	}
	withdraw(0, CatalogImages, "base", 1)
	c.refused(0)
	if e := c.events[len(c.events)-1]; e.Kind != EventImageWithdrawn || e.Subject != testImage || e.Actor != c.client.Public() {
		t.Errorf("event %+v", e)
	}
	if _, ok := c.s.ImageBytes(testImage); !ok || len(NewDesk(c.nodes[0].Public()).Holds(c.s, 10)) == 0 {
		t.Error("another name stands on the image, and it is forgotten")
	}
	withdraw(1, CatalogImages, "same", 1)
	c.refused(0)
	if _, ok := c.s.Manifest(testImage); ok {
		t.Error("nothing stands on the manifest, and it is there")
	}
	if _, _, ok := c.s.BlobManifest(testImage); ok {
		t.Error("the blob of no manifest is known")
	}
	for _, k := range c.nodes {
		for _, h := range NewDesk(k.Public()).Holds(c.s, 10) {
			if h.Manifest == testImage {
				t.Error("a peer is to hold what nobody names")
			}
		}
	}
	c.block(c.cmd(c.nodes[0], &HoldBlobs{Manifests: []digest.Digest{testImage}}))
	c.refused(1)
	if len(c.s.Images("", 10)) != 0 {
		t.Error("a name without versions is listed")
	}
	c.block(c.cmd(testKey("client", 1), &PublishImage{Name: "base", Image: testImage, Bytes: 10}))
	c.refused(1) // the name stays its owner's
	c.block(c.cmd(c.client, &PublishImage{Name: "base", Image: testImage, Bytes: 10}))
	if v, ok := c.s.Image("base", 0); !ok || v.Version != 2 {
		t.Errorf("%+v: a number was given twice", v)
	}
	withdraw(0, CatalogDatasets, "users", 1)
	c.refused(0)
	if _, ok := c.s.Dataset("users", 0); ok {
		t.Error("a withdrawn data set is found")
	}
}

func TestNewestVersionIsTheHighestThatStands(t *testing.T) {
	c := ready(t, 1, 1)
	for i := range byte(4) {
		c.block(c.cmd(c.client, &PublishImage{Name: "base", Image: digest.Of([]byte{i}), Bytes: 1}))
	}
	for _, v := range []uint64{2, 4} {
		c.block(c.cmd(c.client, &Withdraw{Catalog: CatalogImages, Name: "base", Version: v}))
	}
	c.refused(0)
	if v, ok := c.s.Image("base", 0); !ok || v.Version != 3 {
		t.Errorf("%+v", v)
	}
	if l := c.s.ImageVersions("base"); len(l) != 2 || l[0] != 1 || l[1] != 3 {
		t.Errorf("versions %d", l)
	}
}

func TestBlobOfSeveralManifestsIsKnownUntilTheLastIsWithdrawn(t *testing.T) {
	c := ready(t, 1, 1)
	other := digest.Of([]byte("other manifest"))
	c.block(c.cmd(c.client, &PublishDataset{Name: "more", Manifest: other, Blobs: sortedBlobs(other, testBlob)}))
	c.block(c.cmd(c.nodes[0], &HoldBlobs{Manifests: []digest.Digest{other}}))
	if m, n, ok := c.s.BlobManifest(testBlob); !ok || m != other || n != 10 {
		t.Errorf("manifest %s: want the one that is held", m.Short())
	}
	c.block(c.cmd(c.client, &Withdraw{Catalog: CatalogDatasets, Name: "more", Version: 1}))
	if m, _, ok := c.s.BlobManifest(testBlob); !ok || m != testList {
		t.Errorf("manifest %s, %v", m.Short(), ok)
	}
	c.block(c.cmd(c.client, &Withdraw{Catalog: CatalogDatasets, Name: "users", Version: 1}))
	if _, _, ok := c.s.BlobManifest(testBlob); ok {
		t.Error("known still")
	}
	c.block(c.cmd(c.client, testJob(1, 1, 1)))
	c.refused(1)
}
