package consensus

import "fmt"

// ProtocolVersion is the version of the replicated rules that this code follows, and of what it keeps on the disk and says
// to other nodes. A chain, a data folder and a node of another version are refused with a VersionError.
//
//	1  the first
//	2  the validators stand in the state, so that genesis has another root; blocks name batches; the log and the chain store
//	   end everything in checksums
const ProtocolVersion = 2

// VersionError says that something is of another version than this program. Nothing is wrong with it.
type VersionError struct {
	What    string // "genesis"
	Version uint32
	Next    string // what to do besides using another release; "" for nothing
}

func (e *VersionError) Error() string {
	s := fmt.Sprintf("%s is of protocol version %d, this program follows version %d: use a bpi release of version %d", e.What, e.Version, ProtocolVersion, e.Version)
	if e.Next != "" {
		s += ", or " + e.Next
	}
	return s
}
