package consensus

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
)

// SafetyData is what a validator must remember through a crash, lest it signs twice in a view. The shell makes it
// durable before it sends what stands in the same Output, and hands it back to New after a restart. The replica returns
// a fresh copy each time; nobody changes one.
type SafetyData struct {
	_            struct{} `cbor:",toarray"`
	Epoch        Epoch
	ProposedView View // the last view in which this validator proposed
	Proposed     BlockID
	ProposedTC   []TC      // the TC that went with it: none or one
	LastVoted    View      // the view of the last vote
	LastVote     []Vote    // none or one: sent again after a restart
	Locked       View      // highest view of a QC under a block voted for: no timeout may name a lower one
	LastTimeout  []Timeout // none or one: sent again after a restart; no vote in its view or below
	HighQC       QC
	HighTC       []TC // none or one
}

// MaxSafetyBytes bounds an encoded SafetyData: the shell's slots are at least this large.
const MaxSafetyBytes = MaxVoteBytes + MaxTimeoutBytes + MaxQCBytes + 2*MaxTCBytes + 1024

// FreshSafety is the safety data of a validator that has signed nothing in the epoch that begins after root: the genesis
// block or a closing block.
func FreshSafety(root *Block) SafetyData {
	return SafetyData{Epoch: root.Header.NextEpoch(), HighQC: RootQC(root)}
}

// Encode gives the canonical bytes, at most MaxSafetyBytes.
func (s *SafetyData) Encode() []byte { return canon.Must(s) }

// DecodeSafety reads what Encode wrote. It is for a node's own file; the shell guards it with a checksum.
func DecodeSafety(raw []byte) (*SafetyData, error) {
	var s SafetyData
	if err := decode(raw, MaxSafetyBytes, "safety data", &s); err != nil {
		return nil, err
	}
	if len(s.LastVote) > 1 || len(s.LastTimeout) > 1 {
		return nil, fmt.Errorf("safety data with %d votes and %d timeouts: want none or one", len(s.LastVote), len(s.LastTimeout))
	}
	if err := tcsForm(s.HighTC); err != nil {
		return nil, err
	}
	return checked(&s, tcsForm(s.ProposedTC))
}

// timedOut is the view of the last timeout, 0 for none.
func (s *SafetyData) timedOut() View {
	if len(s.LastTimeout) == 0 {
		return 0
	}
	return s.LastTimeout[0].Data.View
}

func (s *SafetyData) highTC() View {
	if len(s.HighTC) == 0 {
		return 0
	}
	return s.HighTC[0].View
}
