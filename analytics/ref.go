package analytics

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// Ref is a dataset as people name it: "users" (the newest version), "users@3", or "users@sha256:…".
type Ref struct {
	Name     string
	Version  uint64        // 0: not given
	Manifest digest.Digest // zero: not given
}

// ResolveRef reads a reference. It resolves nothing itself: whoever knows the chain does, before the job is signed.
func ResolveRef(s string) (Ref, error) {
	name, at, pinned := strings.Cut(s, "@")
	if err := CheckName(name); err != nil {
		return Ref{}, err
	}
	r := Ref{Name: name}
	if !pinned {
		return r, nil
	}
	if strings.HasPrefix(at, "sha256:") {
		d, err := digest.Parse(at)
		if err != nil {
			return Ref{}, fmt.Errorf("dataset %.100q: %w", s, err)
		}
		if d.IsZero() {
			return Ref{}, fmt.Errorf("dataset %.100q: the zero digest names nothing", s)
		}
		r.Manifest = d
		return r, nil
	}
	v, err := strconv.ParseUint(at, 10, 63)
	if err != nil || v == 0 || strconv.FormatUint(v, 10) != at {
		return Ref{}, fmt.Errorf("dataset %.100q: after @ want a version such as 3, or sha256: and 64 hexadecimal digits", s)
	}
	r.Version = v
	return r, nil
}

// String is the spelling that ResolveRef reads.
func (r Ref) String() string {
	switch {
	case !r.Manifest.IsZero():
		return r.Name + "@sha256:" + r.Manifest.String()
	case r.Version != 0:
		return r.Name + "@" + strconv.FormatUint(r.Version, 10)
	}
	return r.Name
}
