package enc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Published is one version of a name: of a data set or of an image.
type Published struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Version  uint64 // 1 for the first; the number of a version that was withdrawn is not given again
	Owner    sign.PublicKey
	Manifest digest.Digest // of a data set its manifest, of an image the image itself
	Rows     uint64        // of a data set
	Bytes    uint64        // of all blobs
	Height   uint64        // block that published it
	TimeMs   uint64
}

// MaxVersions bounds the versions of one name that stand at once.
const MaxVersions = 4096

// catalog is one of the chain's lists of names. The rules are the same for all: a name belongs to whoever published it
// first, for good; publishing again makes the next version; its owner may withdraw a version.
type catalog struct {
	what      string // what it lists, in people's words
	heads     string // keys: name → nameHead
	versions  string // keys: name, '/', version → Published
	published string // event
	withdrawn string // event
}

// The names of catalogs, as Withdraw gives them.
const (
	CatalogDatasets = "dataset"
	CatalogImages   = "image"
)

var (
	datasetNames = &catalog{what: "data set", heads: keyHeads, versions: keyDatasets, published: EventDataset, withdrawn: EventDatasetWithdrawn}
	imageNames   = &catalog{what: "image", heads: keyImageHeads, versions: keyImages, published: EventImage, withdrawn: EventImageWithdrawn}
)

// catalogNamed gives the catalog of that name, nil if there is none.
func catalogNamed(name string) *catalog {
	switch name {
	case CatalogDatasets:
		return datasetNames
	case CatalogImages:
		return imageNames
	}
	return nil
}

// nameHead is what is known of a name as a whole. It stays when all versions are withdrawn.
type nameHead struct {
	_        struct{} `cbor:",toarray"`
	Owner    sign.PublicKey
	Last     uint64   // number given last
	Versions []uint64 // those that stand, rising
}

// newest is the highest version that stands, 0 if none does.
func (h *nameHead) newest() uint64 {
	if len(h.Versions) == 0 {
		return 0
	}
	return h.Versions[len(h.Versions)-1]
}

func (c *catalog) headKey(name string) []byte { return key(c.heads, []byte(name)) }

func (c *catalog) versionKey(name string, version uint64) []byte {
	return key(c.versions, []byte(name), []byte("/"), be64(version))
}

// publication is a new version as its command describes it.
type publication struct {
	name     string
	manifest digest.Digest
	blobs    []BlobRef // what its holders are to hold, the manifest among it; sorted
	holders  uint32    // 0: the network's default
	rows     uint64
}

// publish makes a new version of a name, and lets the chain choose who is to hold its bytes.
func (s *State) publish(at BlockContext, who sign.PublicKey, c *catalog, p publication) error {
	var head nameHead
	if s.get(c.headKey(p.name), &head) {
		if head.Owner != who {
			return refusal(fmt.Sprintf("%s name %q belongs to client key %s; choose another name", c.what, p.name, head.Owner))
		}
		var last Published
		if s.get(c.versionKey(p.name, head.newest()), &last) && last.Manifest == p.manifest {
			s.emit(c.published, who, p.manifest, "unchanged", fmt.Sprintf("%s@%d has these bytes already", p.name, last.Version), &last)
			return nil
		}
		if len(head.Versions) >= MaxVersions {
			return refusal(fmt.Sprintf("%s %q has %d versions, which is the most that may stand at once; withdraw old ones", c.what, p.name, MaxVersions))
		}
	} else {
		head.Owner = who
	}
	total, err := s.name(at, c, &p)
	if err != nil {
		return err
	}
	head.Last++
	head.Versions = append(head.Versions, head.Last)
	s.put(c.headKey(p.name), &head)
	v := &Published{
		Name: p.name, Version: head.Last, Owner: who, Manifest: p.manifest, Rows: p.rows, Bytes: total,
		Height: at.Height, TimeMs: at.TimestampMs,
	}
	s.put(c.versionKey(p.name, v.Version), v)
	s.emit(c.published, who, p.manifest, "accepted", fmt.Sprintf("%s@%d", v.Name, v.Version), v)
	return nil
}

// name lets one version more stand on a manifest, which is made known if it is not, and gives the bytes of its blobs.
func (s *State) name(at BlockContext, c *catalog, p *publication) (total uint64, err error) {
	var m Manifest
	mk := key(keyManifests, p.manifest[:])
	known := s.get(mk, &m)
	if known && !slices.EqualFunc(m.Blobs, p.blobs, func(a, b BlobRef) bool { return a == b }) {
		return 0, refusal("manifest " + p.manifest.String() + " is known to the chain with other blobs")
	}
	for _, b := range p.blobs {
		if bytes, ok := s.blobBytes(b.Digest); ok && bytes != b.Bytes {
			return 0, refusal(fmt.Sprintf("blob %s is said to have %d bytes, and the chain knows it with %d", b.Digest, b.Bytes, bytes))
		}
		total = satAdd(total, b.Bytes)
	}
	if !known {
		m = Manifest{Digest: p.manifest, Blobs: p.blobs}
		for _, b := range p.blobs {
			s.m.Set(blobKey(b.Digest, p.manifest), be64(b.Bytes))
		}
	}
	wanted := p.holders
	if wanted == 0 {
		wanted = s.law.genesis.Params.HoldersDefault
	}
	if wanted > m.Wanted {
		m.Wanted, m.Complete = wanted, false
		s.m.Set(key(keyHoldQueue, p.manifest[:]), be64(at.Height+2))
	}
	m.Named++
	if c == imageNames {
		m.Images++
	}
	s.put(mk, &m)
	return total, nil
}

// withdraw ends a version. When no other stands on its manifest, the bytes need not be held any more.
func (s *State) withdraw(who sign.PublicKey, p *Withdraw) error {
	c := catalogNamed(p.Catalog)
	var head nameHead
	if !s.get(c.headKey(p.Name), &head) {
		return refusal(fmt.Sprintf("there is no %s %q on this chain", c.what, p.Name))
	}
	if head.Owner != who {
		return refusal(fmt.Sprintf("%s %q belongs to client key %s, who alone can withdraw it", c.what, p.Name, head.Owner))
	}
	i, found := slices.BinarySearch(head.Versions, p.Version)
	if !found {
		return refusal(fmt.Sprintf("%s %q has no version %d", c.what, p.Name, p.Version))
	}
	var v Published
	if !s.get(c.versionKey(p.Name, p.Version), &v) {
		s.corrupt(c.versionKey(p.Name, p.Version), fmt.Errorf("a version that stands is missing"))
		return nil
	}
	head.Versions = slices.Delete(head.Versions, i, i+1)
	s.put(c.headKey(p.Name), &head)
	s.del(c.versionKey(p.Name, p.Version))
	s.unname(c, v.Manifest)
	s.emit(c.withdrawn, who, v.Manifest, "accepted", fmt.Sprintf("%s@%d", v.Name, v.Version), &v)
	return nil
}

// unname is the opposite of name. A manifest that nothing stands on is forgotten, and with it whoever holds it.
func (s *State) unname(c *catalog, d digest.Digest) {
	var m Manifest
	mk := key(keyManifests, d[:])
	if !s.get(mk, &m) || m.Named == 0 || c == imageNames && m.Images == 0 {
		s.corrupt(mk, fmt.Errorf("a version stands on a manifest that does not know of it"))
		return
	}
	m.Named--
	if c == imageNames {
		m.Images--
	}
	if m.Named > 0 {
		s.put(mk, &m)
		return
	}
	for _, list := range [][]sign.PublicKey{m.Assigned, m.Held} {
		for _, peer := range list {
			s.del(key(keyHolds, peer[:], d[:]))
		}
	}
	for _, b := range m.Blobs {
		s.del(blobKey(b.Digest, d))
	}
	s.del(key(keyHoldQueue, d[:]))
	s.del(key(keyShort, d[:]))
	s.del(mk)
}

// blobKey is the entry that says that a manifest lists a blob; its value is the blob's bytes.
func blobKey(blob, manifest digest.Digest) []byte { return key(keyBlobs, blob[:], manifest[:]) }

// blobBytes is the size of a blob that some manifest lists.
func (s *State) blobBytes(blob digest.Digest) (bytes uint64, ok bool) {
	for _, v := range s.m.Prefix(key(keyBlobs, blob[:])) {
		return binary.BigEndian.Uint64(v), true
	}
	return 0, false
}

// maxBlobScan bounds the manifests that BlobManifest looks at.
const maxBlobScan = 16

// BlobManifest is a manifest that lists a blob, one that somebody holds if there is one among the first, and the blob's
// bytes. Whoever holds the manifest holds the blob.
func (s *State) BlobManifest(blob digest.Digest) (manifest digest.Digest, bytes uint64, ok bool) {
	prefix, scanned := key(keyBlobs, blob[:]), 0
	for k, v := range s.m.Prefix(prefix) {
		d := digest.Digest(k[len(prefix):])
		if !ok {
			manifest, bytes, ok = d, binary.BigEndian.Uint64(v), true
		}
		if m, known := s.Manifest(d); known && len(m.Held) > 0 {
			return d, bytes, true
		}
		if scanned++; scanned == maxBlobScan {
			break
		}
	}
	return manifest, bytes, ok
}

// find is a version of a name; version 0 is the newest.
func (s *State) find(c *catalog, name string, version uint64) (*Published, bool) {
	if !validName(name) {
		return nil, false
	}
	if version == 0 {
		h, ok := read[nameHead](s, c.headKey(name))
		if !ok {
			return nil, false
		}
		version = h.newest()
	}
	return read[Published](s, c.versionKey(name, version))
}

// list gives the newest version of at most limit names above after, by name.
func (s *State) list(c *catalog, after string, limit int) []*Published {
	var out []*Published
	for k := range s.m.From(key(c.heads), c.headKey(after)) {
		if len(out) == limit {
			break
		}
		name := string(k[len(c.heads):])
		if name == after {
			continue
		}
		if v, ok := s.find(c, name, 0); ok {
			out = append(out, v)
		}
	}
	return out
}

// standing lists the versions of a name, rising.
func (s *State) standing(c *catalog, name string) []uint64 {
	h, ok := read[nameHead](s, c.headKey(name))
	if !validName(name) || !ok {
		return nil
	}
	return h.Versions
}

// Dataset is a version of a data set; version 0 is the newest.
func (s *State) Dataset(name string, version uint64) (*Published, bool) {
	return s.find(datasetNames, name, version)
}

// Datasets lists the newest version of at most limit data sets whose name is above after, by name.
func (s *State) Datasets(after string, limit int) []*Published {
	return s.list(datasetNames, after, limit)
}

// DatasetVersions lists the versions of a data set, rising.
func (s *State) DatasetVersions(name string) []uint64 { return s.standing(datasetNames, name) }

// Image is a version of an image; version 0 is the newest.
func (s *State) Image(name string, version uint64) (*Published, bool) {
	return s.find(imageNames, name, version)
}

// Images lists the newest version of at most limit images whose name is above after, by name.
func (s *State) Images(after string, limit int) []*Published { return s.list(imageNames, after, limit) }

// ImageVersions lists the versions of an image, rising.
func (s *State) ImageVersions(name string) []uint64 { return s.standing(imageNames, name) }

// ImageBytes is the size of an image that some version of some name stands on.
func (s *State) ImageBytes(image digest.Digest) (bytes uint64, ok bool) {
	m, ok := s.Manifest(image)
	if !ok || m.Images == 0 {
		return 0, false
	}
	return m.Blobs[0].Bytes, true
}
