package receipt

import "github.com/metanode/metanode/internal/digest"

// RootOf shows where a proof leads.
func RootOf(in *Inclusion) digest.Digest {
	r, err := in.root()
	if err != nil {
		panic(err)
	}
	return r
}
