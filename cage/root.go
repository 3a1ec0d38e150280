package cage

import "github.com/metanode/metanode/internal/digest"

// HostRoot names the root of a machine as it stands by a fingerprint of it: bytes that are the same on machines where
// the same programs are installed. It is no archive, and never the digest of one. Nobody can fetch it: a run in it can be
// repeated only where the same things are installed.
func HostRoot(fingerprint []byte) digest.Digest {
	return digest.Sum("docklock/hostroot/1", fingerprint)
}
