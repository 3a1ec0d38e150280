package analytics

import "github.com/metanode/metanode/enc"

// Ref is a dataset as people name it: "users" (the newest version), "users@3", or "users@sha256:…".
type Ref = enc.Ref

// ResolveRef reads a reference to a dataset.
func ResolveRef(s string) (Ref, error) { return enc.ParseRef("dataset", s) }
