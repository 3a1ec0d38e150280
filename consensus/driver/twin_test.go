package driver_test

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
)

// startAll begins all nodes of a lab.
func startAll(t *testing.T) *lab {
	l := newLab(t)
	for i, n := range l.nodes {
		if err := n.begin(l.disks[i]); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// refuses begins a node that must refuse, at once or when it hears the others, and wants words in its reason.
func (n *testNode) refuses(t *testing.T, disk *driver.FaultDisk, words ...string) {
	t.Helper()
	err := n.begin(disk)
	if err == nil {
		eventually(t, "a node that stops by itself", func() bool { return len(n.ended) > 0 })
		err = n.end()
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Fatalf("the node ended with %v; want %q in it", err, w)
		}
	}
}

// TestSecondNodeWithAKeyRefuses starts a key a second time, on another machine with an empty folder: it hears what it has
// signed before it can sign anything, and stops. The first one does not notice.
func TestSecondNodeWithAKeyRefuses(t *testing.T) {
	for _, change := range []string{"", "validators 0 1 2 3*2"} {
		t.Run("before it: "+change, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := startAll(t)
				l.feed(l.nodes, nil)
				if change != "" {
					submit(t, l.nodes[0], change)
					eventually(t, "the next epoch", inEpoch(l.nodes, 1))
					l.commit("in it", 1, l.nodes)
				}
				l.mu.Lock()
				said := maps.Clone(l.said.votes)
				l.mu.Unlock()
				twin := l.newNode(9, t.TempDir())
				twin.key = l.nodes[2].key
				twin.refuses(t, driver.NewFaultDisk(), twin.key.Public().Short(), "used on another machine", "older copy")
				l.mu.Lock()
				for at, v := range l.said.votes {
					if _, before := said[at]; !before && at.who == twin.key.Public() {
						t.Errorf("the second node voted in view %d for %s", at.view, v.Block.Short())
					}
				}
				l.mu.Unlock()
				l.commit("after", 0, l.nodes)
				stopAll(l.nodes)
			})
		})
	}
}

// TestOldCopyOfAFolderRefuses goes on from a copy of a folder that was made before the last votes, with the blocks of then
// or with those of now.
func TestOldCopyOfAFolderRefuses(t *testing.T) {
	for _, store := range []string{"with it", "not with it"} {
		t.Run("the store is "+store, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := startAll(t)
				l.commit("before the copy", 0, l.nodes)
				old := l.disks[2].Bytes()
				l.feed(l.nodes, nil)
				l.disks[2].Stop(driver.Tears()[0])
				_ = l.nodes[2].end()
				n := l.again(2)
				for name := range l.disks[2].Bytes() {
					l.disks[2].Put(name, nil)
				}
				for name, raw := range old {
					l.disks[2].Put(name, raw)
				}
				if store == "with it" {
					n.store = newFaultStore(l.disks[2]) // of then, or empty: the rest comes from the others
				}
				n.refuses(t, l.disks[2], "older copy of its folder", "have the key replaced")
				alive := []*testNode{l.nodes[0], l.nodes[1], l.nodes[3]}
				l.commit("after", 0, alive)
				stopAll(alive)
			})
		})
	}
}

// TestDiskThatLied confirms syncs that it does not do, and loses all of them with the power: the folder is as new, the
// node must not be.
func TestDiskThatLied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.disks[1].Lie()
		for i, n := range l.nodes {
			if err := n.begin(l.disks[i]); err != nil {
				t.Fatal(err)
			}
		}
		l.feed(l.nodes, nil)
		l.disks[1].Stop(driver.Tears()[1])
		_ = l.nodes[1].end()
		l.again(1).refuses(t, l.disks[1], "this node has not")
		alive := []*testNode{l.nodes[0], l.nodes[2], l.nodes[3]}
		l.commit("after", 0, alive)
		stopAll(alive)
	})
}

// TestOwnWordsAreNoAlarm gives a node back everything that it said, from a stranger.
func TestOwnWordsAreNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.echo.Store(true)
		for i, n := range l.nodes {
			if err := n.begin(l.disks[i]); err != nil {
				t.Fatal(err)
			}
		}
		l.feed(l.nodes, nil)
		l.disks[1].Stop(driver.Tears()[0])
		_ = l.nodes[1].end()
		if err := l.again(1).begin(l.disks[1]); err != nil {
			t.Fatal(err)
		}
		l.commit("after", 0, l.nodes)
		stopAll(l.nodes)
	})
}

// TestEveryWordOfAnImpostorIsHeard signs, with a node's key, each kind of message that the node has not.
func TestEveryWordOfAnImpostorIsHeard(t *testing.T) { eachScheme(t, testEveryWordOfAnImpostorIsHeard) }

func testEveryWordOfAnImpostorIsHeard(t *testing.T, scheme consensus.Scheme) {
	key := seedKey(1)
	for name, say := range map[string]func(l *lab) (driver.Kind, []byte){
		"vote": func(l *lab) (driver.Kind, []byte) {
			v := &consensus.Vote{Voter: key.Public()}
			v.Data = consensus.VoteData{ChainID: l.genesis.ChainID(), View: 1000, Block: consensus.BlockID{1}}
			v.Sig = l.sign(1, v.Data.SigningBytes())
			return driver.KindVote, v.Encode()
		},
		"timeout": func(l *lab) (driver.Kind, []byte) {
			first, err := l.genesis.Block(genesisState)
			if err != nil {
				l.t.Fatal(err)
			}
			qc := consensus.GenesisQC(first)
			x := &consensus.Timeout{Voter: key.Public(), HighQC: qc, LastTC: []consensus.TC{}}
			x.Data = consensus.TimeoutData{ChainID: l.genesis.ChainID(), View: 1}
			x.Sig = l.sign(1, x.Data.SigningBytes())
			return driver.KindTimeout, x.Encode()
		},
		"certificate": func(l *lab) (driver.Kind, []byte) {
			d := consensus.VoteData{ChainID: l.genesis.ChainID(), View: 1000, Block: consensus.BlockID{1}}
			set, err := consensus.NewValidatorSet(l.genesis.Validators)
			if err != nil {
				l.t.Fatal(err)
			}
			at := []int{0, 1, 2} // the node is one of them
			var sigs []consensus.Signature
			for _, i := range at {
				sigs = append(sigs, l.sign(i, d.SigningBytes()))
			}
			qc, err := consensus.NewQC(set, d, at, sigs)
			if err != nil {
				l.t.Fatal(err)
			}
			return driver.KindCertificates, (&consensus.Certificates{QC: *qc, TC: []consensus.TC{}}).Encode()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLabOf(t, scheme, nil)
				kind, raw := say(l)
				l.nodes[1].in <- packet{seedKey(1077).Public(), driver.Gossiped, kind, raw}
				l.nodes[1].refuses(t, l.disks[1], "used on another machine") // alone, it signs nothing for a minute
			})
		})
	}
	t.Run("a forged vote", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLabOf(t, scheme, nil)
			n := l.nodes[1]
			if err := n.begin(l.disks[1]); err != nil {
				t.Fatal(err)
			}
			v := &consensus.Vote{Voter: key.Public()}
			v.Data = consensus.VoteData{ChainID: l.genesis.ChainID(), View: 1, Block: consensus.BlockID{1}}
			if got := n.d.Deliver(n.node, driver.Direct, driver.KindVote, v.Encode()); got != driver.Reject {
				t.Errorf("a vote that nobody signed: verdict %v", got)
			}
			n.stop()
		})
	})
}
