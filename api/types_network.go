package api

import "github.com/metanode/metanode/internal/sign"

// Network is a node's view of its mesh: who is let in, what was refused, and which ways lead to the node.
type Network struct {
	Name           string          `json:"name"` // the chain's display name
	Private        bool            `json:"private"`
	Sealed         bool            `json:"sealed"`                      // there is a swarm key
	InvitationEnds uint64          `json:"invitation_ends_ms,omitzero"` // of the node's own; Unix milliseconds
	Addresses      []string        `json:"addresses"`
	MaxPeers       int             `json:"max_peers"`
	Connections    []Connections   `json:"connections"`
	Refused        uint64          `json:"refused"` // by resource limits since the start
	Refusals       []Refusal       `json:"refusals"`
	Gate           GateCounts      `json:"gate"`
	Losses         []Loss          `json:"losses"` // messages and requests dropped since the start, where there were any
	Members        []Member        `json:"members"`
	NAT            []NAT           `json:"nat"`
	Holes          Holes           `json:"holes"`
	Reach          Reach           `json:"reach"`
	Bootstrap      []BootstrapPeer `json:"bootstrap"`
	Foreign        []ForeignPeer   `json:"foreign"`
}

// Holes counts direct connections in place of relayed ones since the start.
type Holes struct {
	Tried uint64 `json:"tried"`
	Made  uint64 `json:"made"`
}

// Connections is the number of open connections of one kind.
type Connections struct {
	Direction string `json:"direction"` // "inbound" or "outbound"
	Transport string `json:"transport"` // "tcp", "quic", ...
	Count     int    `json:"count"`
}

// Refusal is one kind of thing that a resource limit refused.
type Refusal struct {
	Scope  string `json:"scope"`
	Limit  string `json:"limit"`
	Count  uint64 `json:"count"`
	LastMs uint64 `json:"last_ms"` // Unix milliseconds
}

// GateCounts is how often the gate, and the door of a private network, said what since the start.
type GateCounts struct {
	Passed      uint64 `json:"passed"`
	Outsiders   uint64 `json:"outsiders"`
	Foreign     uint64 `json:"foreign"`
	Banned      uint64 `json:"banned"`
	Dials       uint64 `json:"dials"`
	DoorOpened  uint64 `json:"door_opened"`
	DoorRefused uint64 `json:"door_refused"`
	DoorBusy    uint64 `json:"door_busy"`
	PutOut      uint64 `json:"put_out"`
}

// Loss is one kind of thing that was dropped.
type Loss struct {
	What  string `json:"what"`
	Count uint64 `json:"count"`
}

// Member is one member of a private network.
type Member struct {
	ID         string         `json:"id"`
	Key        sign.PublicKey `json:"key"`
	Name       string         `json:"name,omitempty"`
	How        string         `json:"how"` // "configuration", "chain", "invitation" or "visitor"
	Invitation string         `json:"invitation,omitempty"`
	ExpiresMs  uint64         `json:"expires_ms,omitzero"`
	Connected  bool           `json:"connected"`
}

// NAT is what is known of the address translation in front of the node.
type NAT struct {
	Transport string `json:"transport"`
	Kind      string `json:"kind"`
}

// Reach is what peers said when they were asked to dial the node back.
type Reach struct {
	AtMs  uint64      `json:"at_ms,omitzero"` // zero: not asked yet
	Asked []ReachPeer `json:"asked"`
}

// ReachPeer is one peer's word.
type ReachPeer struct {
	ID       string      `json:"id"`
	Observed string      `json:"observed"` // IP address at which it sees the node
	NAT      bool        `json:"nat"`      // which is none of the node's machine
	Ports    []ReachPort `json:"ports"`
	Error    string      `json:"error,omitempty"` // it did not answer
}

// ReachPort is what became of one TCP port.
type ReachPort struct {
	Port  int    `json:"port"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// BootstrapPeer is a peer that the configuration names.
type BootstrapPeer struct {
	ID        string `json:"id"`
	Address   string `json:"address"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"` // of the last dial
}

// ForeignPeer is a peer of no Metanode network, with which the node exchanges blobs.
type ForeignPeer struct {
	ID        string `json:"id"`
	Agent     string `json:"agent,omitempty"` // as it calls itself
	Listed    bool   `json:"listed"`          // in the node's configuration
	Connected bool   `json:"connected"`
	SinceMs   uint64 `json:"since_ms,omitzero"` // Unix milliseconds
	Error     string `json:"error,omitempty"`   // of the last dial
}

// Revocation asks a node to revoke an invitation, and to tell the other members.
type Revocation struct {
	Revocation []byte `json:"revocation"` // canonical CBOR of invite.Revocation, signed
}

// RevocationTaken says what a revocation did at once.
type RevocationTaken struct {
	ID     string `json:"id"`
	PutOut int    `json:"put_out"` // members that were let in by the invitation, as far as the node knew
	Told   int    `json:"told"`    // connected peers that are told now; the others ask when they connect
}
