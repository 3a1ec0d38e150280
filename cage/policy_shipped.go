package cage

import (
	"embed"
	"fmt"

	"github.com/metanode/metanode/internal/digest"
)

// The shipped policies, each in its canonical form.
//
//   - strict-determinism: any Linux program. One thread at a time, virtual clock, seeded randomness.
//   - compute-only: the same for one process with no writable folder: inputs, standard input, and what it computes.
//   - relaxed: virtual clock and seeded randomness, but threads run as the machine has them. Its results need not agree.
//   - sealed: for images that bring their own clock and randomness: enough for a single-threaded static program that
//     reads its inputs, computes, and writes its outputs. Calls that tell time, give randomness, start processes, open
//     sockets or reach other processes kill. A few that programs make for advice and can do without answer with a fixed
//     error. Memory may not become code (the conditions on mmap and mprotect); tgkill to process 2, which a job is in its
//     namespace, is abort(); the one ioctl is isatty's. The startup rules are what glibc needs before main: uname tells
//     the kernel's release, which static glibc before 2.37 insists on, and a getrandom of 8 bytes that must not block is
//     the allocator's guard against double frees.
//
//go:embed policies/*.json
var policyFiles embed.FS

// Names of the shipped policies.
const (
	PolicyStrict      = "strict-determinism"
	PolicyComputeOnly = "compute-only"
	PolicyRelaxed     = "relaxed"
	PolicySealed      = "sealed"
)

// shipped are the policies of this program, parsed once and never changed.
var shipped = readShipped(PolicyStrict, PolicyComputeOnly, PolicyRelaxed, PolicySealed)

// shippedDigests are theirs, in the same order.
var shippedDigests = func() (list []digest.Digest) {
	for _, p := range shipped {
		list = append(list, p.Digest())
	}
	return list
}()

func readShipped(names ...string) []*Policy {
	var list []*Policy
	for _, name := range names {
		b, err := policyFiles.ReadFile("policies/" + name + ".json")
		if err != nil {
			panic(fmt.Sprintf("cage: shipped policy %s: %v", name, err))
		}
		p, err := ParsePolicy(b)
		if err != nil {
			panic(fmt.Sprintf("cage: shipped policy %s: %v", name, err))
		}
		list = append(list, p)
	}
	return list
}

// Policies are the shipped ones, strict-determinism first. They are the caller's to change.
func Policies() []*Policy {
	list := make([]*Policy, 0, len(shipped))
	for _, p := range shipped {
		list = append(list, p.clone())
	}
	return list
}

// PolicyNamed is the shipped policy of a name.
func PolicyNamed(name string) (*Policy, bool) {
	for _, p := range shipped {
		if p.Name == name {
			return p.clone(), true
		}
	}
	return nil, false
}

// PolicyOf is the shipped policy of a digest.
func PolicyOf(d digest.Digest) (*Policy, bool) {
	for i, p := range shipped {
		if shippedDigests[i] == d {
			return p.clone(), true
		}
	}
	return nil, false
}

// Sealed is the policy for images that bring their own clock and randomness.
func Sealed() *Policy {
	p, _ := PolicyNamed(PolicySealed)
	return p
}
