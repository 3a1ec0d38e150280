package native

import "github.com/metanode/metanode/cage"

// compile makes the seccomp filter of p, in the kernel's form. cold adds the rules for a program that starts under the
// filter.
func compile(p *cage.Policy, cold bool) ([]byte, error) { return p.Filter(cold) }
