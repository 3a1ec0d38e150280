package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// record is all that validators said, through all their lives, in the order in which it left each of them.
type record struct {
	votes     map[spot]consensus.VoteData
	timeouts  map[spot]consensus.TimeoutData
	proposals map[spot]consensus.BlockID
	gaveUp    map[era]consensus.View // the last view that it timed out in
	voted     map[era]consensus.View // the last view that it voted in
}

// era is one validator in one epoch.
type era struct {
	who   sign.PublicKey
	epoch consensus.Epoch
}

// spot is one validator in one view of an epoch.
type spot struct {
	era
	view consensus.View
}

func newRecord() *record {
	return &record{
		votes: map[spot]consensus.VoteData{}, timeouts: map[spot]consensus.TimeoutData{}, proposals: map[spot]consensus.BlockID{},
		gaveUp: map[era]consensus.View{}, voted: map[era]consensus.View{},
	}
}

// take takes a message down, and tells what is wrong with it, if anything: no honest validator signs two votes, timeouts
// or proposals in a view, or votes for the first time in a view that it has given up. Saying the same again is right.
func (r *record) take(kind driver.Kind, msg []byte) string {
	switch kind {
	case driver.KindVote:
		v, err := consensus.DecodeVote(msg)
		if err != nil {
			return err.Error()
		}
		at := spot{era{v.Voter, v.Data.Epoch}, v.Data.View}
		first, again := r.votes[at]
		switch {
		case again && first != v.Data:
			return fmt.Sprintf("%s voted twice in view %d", v.Voter.Short(), at.view)
		case !again && at.view <= r.gaveUp[at.era]:
			return fmt.Sprintf("%s voted in view %d and had given up view %d", v.Voter.Short(), at.view, r.gaveUp[at.era])
		case !again && at.view < r.voted[at.era]:
			return fmt.Sprintf("%s voted in view %d after view %d", v.Voter.Short(), at.view, r.voted[at.era])
		}
		r.votes[at] = v.Data
		r.voted[at.era] = max(r.voted[at.era], at.view)
	case driver.KindTimeout:
		x, err := consensus.DecodeTimeout(msg)
		if err != nil {
			return err.Error()
		}
		at := spot{era{x.Voter, x.Data.Epoch}, x.Data.View}
		first, again := r.timeouts[at]
		switch {
		case again && first != x.Data:
			return fmt.Sprintf("%s timed out twice in view %d", x.Voter.Short(), at.view)
		case !again && x.Data.LastVoted < r.voted[at.era]:
			return fmt.Sprintf("%s denies its vote in view %d", x.Voter.Short(), r.voted[at.era])
		}
		r.timeouts[at] = x.Data
		r.gaveUp[at.era] = max(r.gaveUp[at.era], at.view)
	case driver.KindProposal:
		p, err := consensus.DecodeProposal(msg)
		if err != nil {
			return err.Error()
		}
		return r.proposed(&p.Block.Header)
	case driver.KindOutline:
		o, err := consensus.DecodeOutline(msg)
		if err != nil {
			return err.Error()
		}
		return r.proposed(&o.Header)
	}
	return ""
}

func (r *record) proposed(h *consensus.Header) string {
	at, id := spot{era{h.Proposer, h.Epoch}, h.View}, h.ID()
	if first, again := r.proposals[at]; again && first != id {
		return fmt.Sprintf("%s proposed twice in view %d", h.Proposer.Short(), at.view)
	}
	r.proposals[at] = id
	return ""
}

func TestRecordKnowsABrokenPromise(t *testing.T) {
	who := seedKey(1).Public()
	vote := func(view consensus.View, block byte) []byte {
		v := &consensus.Vote{Voter: who}
		v.Data.View, v.Data.Block[0] = view, block
		return v.Encode()
	}
	timeout := func(view, last consensus.View) []byte {
		return (&consensus.Timeout{Voter: who, Data: consensus.TimeoutData{View: view, LastVoted: last}, LastTC: []consensus.TC{}}).Encode()
	}
	proposal := func(view consensus.View, ms uint64) []byte {
		p := &consensus.Proposal{LastTC: []consensus.TC{}}
		p.Block.Header.Proposer, p.Block.Header.View, p.Block.Header.TimestampMs, p.Block.Txs = who, view, ms, [][]byte{}
		p.Block.Header.TxRoot = merkle.Root(nil)
		return p.Encode()
	}
	type said struct {
		kind driver.Kind
		msg  []byte
	}
	v, o, p := driver.KindVote, driver.KindTimeout, driver.KindProposal
	for name, c := range map[string]struct {
		list []said
		want string
	}{
		"the same again":          {[]said{{v, vote(5, 1)}, {v, vote(5, 1)}, {o, timeout(5, 5)}, {o, timeout(5, 5)}, {p, proposal(6, 1)}, {p, proposal(6, 1)}}, ""},
		"an old vote again":       {[]said{{v, vote(5, 1)}, {o, timeout(6, 5)}, {v, vote(5, 1)}}, ""},
		"two votes":               {[]said{{v, vote(5, 1)}, {v, vote(5, 2)}}, "voted twice in view 5"},
		"two proposals":           {[]said{{p, proposal(5, 1)}, {p, proposal(5, 2)}}, "proposed twice in view 5"},
		"two timeouts":            {[]said{{o, timeout(5, 4)}, {o, timeout(5, 3)}}, "timed out twice in view 5"},
		"a vote after a timeout":  {[]said{{o, timeout(5, 4)}, {v, vote(5, 1)}}, "had given up view 5"},
		"a vote denied":           {[]said{{v, vote(5, 1)}, {o, timeout(6, 4)}}, "denies its vote in view 5"},
		"bytes that are no vote":  {[]said{{v, []byte{1}}}, "Vote"},
		"nothing of consequence":  {[]said{{driver.KindTx, []byte("tx")}}, ""},
		"votes that go backwards": {[]said{{v, vote(5, 1)}, {v, vote(4, 2)}}, "in view 4 after view 5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord()
			var got string
			for _, s := range c.list {
				if got == "" {
					got = r.take(s.kind, s.msg)
				}
			}
			if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("judged %q, want %q", got, c.want)
			}
		})
	}
}
