package node

import (
	"slices"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// shelf is one of the chain's catalogs as callers of the API ask for its names.
type shelf struct {
	what     string // what it lists
	next     string // how a name gets there; the name follows
	find     func(s *enc.State, name string, version uint64) (*enc.Published, bool)
	versions func(s *enc.State, name string) []uint64
}

var (
	datasets = shelf{"dataset", "add it with: bpi dataset add FILE --name ", (*enc.State).Dataset, (*enc.State).DatasetVersions}
	images   = shelf{"image", "add it with: bpi image add ROOTDIR --name ", (*enc.State).Image, (*enc.State).ImageVersions}
)

// resolve finds the version that a reference means in a committed state.
func (n *Node) resolve(on shelf, s *enc.State, text string) (*enc.Published, error) {
	ref, err := enc.ParseRef(on.what, text)
	if err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	chain := n.genesis.DisplayName()
	newest, ok := on.find(s, ref.Name, 0)
	if !ok {
		return nil, api.NotFound(on.next+ref.Name, "%s %q is not registered on chain %s", on.what, ref.Name, chain)
	}
	switch {
	case ref.Version != 0:
		v, ok := on.find(s, ref.Name, ref.Version)
		if !ok {
			return nil, api.NotFound("", "%s %q has no version %d on chain %s; the newest is %d", on.what, ref.Name, ref.Version, chain, newest.Version)
		}
		return v, nil
	case !ref.Manifest.IsZero():
		for _, number := range slices.Backward(on.versions(s, ref.Name)) {
			if v, ok := on.find(s, ref.Name, number); ok && v.Manifest == ref.Manifest {
				return v, nil
			}
		}
		return nil, api.NotFound("", "%s %q has no version sha256:%s on chain %s", on.what, ref.Name, ref.Manifest, chain)
	}
	return newest, nil
}

// publication is what the API says of a version, whatever it is of.
func publication(s *enc.State, v *enc.Published) api.Publication {
	p := api.Publication{
		Name: v.Name, Version: v.Version, Owner: v.Owner, Height: v.Height, TimeMs: v.TimeMs, Bytes: v.Bytes, Holders: []sign.PublicKey{},
	}
	if m, ok := s.Manifest(v.Manifest); ok {
		p.Wanted, p.Complete = m.Wanted, m.Complete
		p.Holders = append(p.Holders, m.Held...)
	}
	return p
}

// files counts the blobs that a manifest lists beside itself.
func files(s *enc.State, manifest digest.Digest) int {
	m, ok := s.Manifest(manifest)
	if !ok {
		return 0
	}
	return len(m.Blobs) - 1
}
