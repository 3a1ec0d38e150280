package enc

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// Ref is a version of a data set or an image as people name it: "users" (the newest), "users@3", or "users@sha256:…".
type Ref struct {
	Name     string
	Version  uint64        // 0: not given
	Manifest digest.Digest // zero: not given; of an image, the image itself
}

// CheckName says whether a thing of a catalog, which the error calls what, may bear a name.
func CheckName(what, name string) error {
	if !validName(name) {
		return fmt.Errorf("%s name %.80q: want 1 to 63 of a-z, 0-9, _ and -, beginning with a letter", what, name)
	}
	return nil
}

// ParseRef reads a reference to a thing of a catalog, which errors call what. It resolves nothing itself: whoever knows
// the chain does, before a job is signed.
func ParseRef(what, s string) (Ref, error) {
	name, at, pinned := strings.Cut(s, "@")
	if err := CheckName(what, name); err != nil {
		return Ref{}, err
	}
	r := Ref{Name: name}
	if !pinned {
		return r, nil
	}
	if strings.HasPrefix(at, "sha256:") {
		d, err := digest.Parse(at)
		if err != nil {
			return Ref{}, fmt.Errorf("%s %.100q: %w", what, s, err)
		}
		if d.IsZero() {
			return Ref{}, fmt.Errorf("%s %.100q: the zero digest names nothing", what, s)
		}
		r.Manifest = d
		return r, nil
	}
	v, err := strconv.ParseUint(at, 10, 63)
	if err != nil || v == 0 || strconv.FormatUint(v, 10) != at {
		return Ref{}, fmt.Errorf("%s %.100q: after @ want a version such as 3, or sha256: and 64 hexadecimal digits", what, s)
	}
	r.Version = v
	return r, nil
}

// String is the spelling that ParseRef reads.
func (r Ref) String() string {
	switch {
	case !r.Manifest.IsZero():
		return r.Name + "@sha256:" + r.Manifest.String()
	case r.Version != 0:
		return r.Name + "@" + strconv.FormatUint(r.Version, 10)
	}
	return r.Name
}
