package enc

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
	"github.com/metanode/metanode/receipt"
)

// BlockContext is what a block gives to the commands in it. It stands in for the clock.
type BlockContext struct {
	Height      uint64
	TimestampMs uint64        // agreed time, Unix milliseconds
	Parent      digest.Digest // id of the parent block: the seed of what this block places
}

// State is everything that ENC has agreed on, after some block. A State is owned by one goroutine; forks are
// independent, and a State that is no longer executed on may be queried by many goroutines at once once Root or Fork
// has been called.
type State struct {
	chain digest.Digest
	law   *law // shared by all forks, never written
	m     *trie.Map
	base  *trie.Map // as of the fork, for Changes

	seq    uint32          // commands applied since Begin
	events []receipt.Event // of the call in progress
	err    error           // first sign of corrupt state in the call in progress
	loaded []*Node         // by peer; only while jobs are placed, so that all see each other's takings
	// placeable says that something happened since the queue was last looked through. It only steers HasWork, never the
	// state, and is not persisted: a loaded state looks once.
	placeable bool
}

// The keys of the state. Numbers in keys are big-endian, so that the order of keys is the order of things.
const (
	keyParams     = "params"      // Genesis
	keyNodes      = "nodes/"      // peer → Node
	keyOffers     = "offers/"     // policy, peer → nothing: who offers what
	keyJobs       = "jobs/"       // job → Job
	keyWorks      = "works/"      // job → receipt.Work
	keyList       = "list/"       // ^height, ^index → job: newest first
	keyQueue      = "queue/"      // 9-priority, height, index → job, first height to place at
	keyParked     = "parked/"     // same; nodes must change before any of these can be placed
	keyUnpark     = "unpark"      // present while parked entries are being moved back to the queue
	keyDeadlines  = "deadlines/"  // time, job → nothing: when Begin must look at the job
	keySweep      = "sweep/"      // time, kind, id → nothing: housekeeping that may be late
	keyDedupe     = "dedupe/"     // expiry, command → nothing
	keyAssigned   = "assigned/"   // peer, job → nothing: what a Desk lists
	keyClients    = "clients/"    // client → clientRecord
	keyHeads      = "heads/"      // data set name → nameHead
	keyDatasets   = "datasets/"   // name, '/', version → Published
	keyImageHeads = "imageheads/" // image name → nameHead
	keyImages     = "images/"     // name, '/', version → Published
	keyManifests  = "manifests/"  // digest → Manifest
	keyBlobs      = "blobs/"      // blob, manifest that lists it → bytes of the blob
	keyHolds      = "holds/"      // peer, manifest → 1 if attested, 0 if not yet
	keyHoldQueue  = "holdqueue/"  // manifest → first height to place at
	keyShort      = "short/"      // manifest → nothing: it has fewer holders than wanted; looked at when nodes change
	keyLeaving    = "leaving/"    // peer → the last manifest looked at: its holds are being given to others
	keyValidators = "validators"  // reign: the epoch and the set in force
	keyNextSet    = "nextset"     // the next set; there only in the state of a closing block
	keyProposals  = "proposals/"  // proposal → ProposeValidators
	keyApprovals  = "approvals/"  // validator → the proposal it stands behind
	keyEvidence   = "evidence/"   // validator key → Conviction; never removed
)

// NewState is the state that genesis describes, with the validators of the first epoch.
func NewState(chainID digest.Digest, g Genesis, validators []consensus.Validator) (*State, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	s := &State{chain: chainID, law: newLaw(&g), m: new(trie.Map), base: new(trie.Map), placeable: true}
	s.put(key(keyParams), &g)
	for _, n := range g.Nodes {
		s.putNode(&Node{Peer: n.Node, Operator: n.Operator})
	}
	s.put(key(keyValidators), &reign{Validators: validators})
	return s, s.err
}

// Load rebuilds a state from all of its leaves, in any order. The state keeps the slices.
func Load(chainID digest.Digest, entries iter.Seq2[[]byte, []byte]) (*State, error) {
	s := &State{chain: chainID, m: new(trie.Map), placeable: true}
	for k, v := range entries {
		if len(k) == 0 || len(k) > 256 {
			return nil, fmt.Errorf("load the state: a key of %d bytes: want 1 to 256; the data folder is damaged", len(k))
		}
		s.m.Set(k, v)
	}
	g, ok := read[Genesis](s, key(keyParams))
	if !ok {
		return nil, fmt.Errorf("load the state: there is no genesis in it; the data folder is damaged or of another version")
	}
	s.law = newLaw(g)
	s.base = s.m.Fork()
	return s, nil
}

// law is the decoded genesis.
type law struct {
	genesis Genesis
	clients map[sign.PublicKey]bool
}

func newLaw(g *Genesis) *law {
	l := &law{genesis: *g, clients: make(map[sign.PublicKey]bool, len(g.Clients))}
	for _, c := range g.Clients {
		l.clients[c] = true
	}
	return l
}

// Fork makes an independent copy in constant time. Its Changes begin empty.
func (s *State) Fork() *State {
	m := s.m.Fork()
	return &State{chain: s.chain, law: s.law, m: m, base: m.Fork(), seq: s.seq, placeable: s.placeable}
}

// ChainID is the chain that the state belongs to.
func (s *State) ChainID() digest.Digest { return s.chain }

// Root commits to the whole state.
func (s *State) Root() digest.Digest { return s.m.Root() }

// Changes lists, in key order, the leaves that were set (value) or deleted (nil) since NewState, Load or Fork. Writing
// them over the leaves of that moment gives the leaves of now. The caller must not change the slices.
func (s *State) Changes() iter.Seq2[[]byte, []byte] { return trie.Diff(s.base, s.m) }

// Leaves lists every leaf in key order.
func (s *State) Leaves() iter.Seq2[[]byte, []byte] { return s.m.All() }

// Outline cuts the state into parts that hang under Root, for a snapshot. It only reads.
func (s *State) Outline(partBytes int) (*trie.Outline, error) { return s.m.Outline(partBytes) }

// Prove shows that a leaf is under Root, or that there is none.
func (s *State) Prove(key []byte) trie.Proof { return s.m.Prove(key) }

// key joins the parts of a key.
func key(prefix string, parts ...[]byte) []byte {
	n := len(prefix)
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), prefix...)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// put encodes v under k. What cannot be encoded is corrupt state.
func (s *State) put(k []byte, v any) {
	b, err := canon.Marshal(v)
	if err != nil {
		s.corrupt(k, err)
		return
	}
	s.m.Set(k, b)
}

// get decodes k into v and reports whether the key is there. The state holds only what put wrote, so a decoder error
// means damaged storage.
func (s *State) get(k []byte, v any) bool {
	b, ok := s.m.Get(k)
	if !ok {
		return false
	}
	if err := canon.UnmarshalOwn(b, v); err != nil {
		s.corrupt(k, err)
		return false
	}
	return true
}

func (s *State) has(k []byte) bool {
	_, ok := s.m.Get(k)
	return ok
}

func (s *State) del(k []byte) { s.m.Delete(k) }

func (s *State) mark(k []byte) { s.m.Set(k, []byte{}) }

// corrupt records the first broken invariant of the call in progress.
func (s *State) corrupt(k []byte, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("state is corrupt at %.60q: %w", k, err)
	}
}

// finish ends a call: its events, or the corruption it met.
func (s *State) finish() ([]receipt.Event, error) {
	events, err := s.events, s.err
	s.events, s.err = nil, nil
	if err != nil {
		return nil, err
	}
	return events, nil
}

// keysUnder collects at most limit keys and values under prefix, so that the caller may edit while it walks them.
func (s *State) keysUnder(prefix []byte, limit int) []entry {
	var out []entry
	for k, v := range s.m.Prefix(prefix) {
		if len(out) == limit {
			break
		}
		out = append(out, entry{k, v})
	}
	return out
}

type entry struct{ key, val []byte }

// emit adds an event of the call in progress.
func (s *State) emit(kind string, actor sign.PublicKey, subject digest.Digest, decision, reason string, body any) {
	b := []byte{}
	if body != nil {
		var err error
		if b, err = canon.Marshal(body); err != nil {
			s.corrupt([]byte(kind), err)
			return
		}
	}
	s.events = append(s.events, receipt.Event{Kind: kind, Actor: actor, Subject: subject, Decision: decision, Reason: reason, Body: b})
}

func (s *State) putNode(n *Node) { s.put(key(keyNodes, n.Peer[:]), n) }
