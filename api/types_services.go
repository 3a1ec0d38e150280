package api

import (
	"time"

	"github.com/metanode/metanode/internal/sign"
)

// MaxMessageBytes bounds a message to a service, and MaxAnswerBytes its answer.
const (
	MaxMessageBytes = 1 << 20
	MaxAnswerBytes  = 8 << 20
)

// MaxTryTime bounds the time that one provider of a service may take.
const MaxTryTime = 5 * time.Minute

// Service is one peer's offer of a service, signed by that peer and in force.
type Service struct {
	Service   string         `json:"service"` // name and major version: "sql/1"
	Version   string         `json:"version"` // "1.0"
	Peer      string         `json:"peer"`    // libp2p peer id
	Key       sign.PublicKey `json:"key"`
	Name      string         `json:"name,omitempty"` // of the peer, for people
	Capacity  uint32         `json:"capacity"`       // requests that it takes at once; 0 takes none at present
	Labels    []string       `json:"labels"`
	Addresses []string       `json:"addresses"` // multiaddrs under which this node knows the peer
	Seq       uint64         `json:"seq"`       // of the description; it only grows
	ExpiresMs uint64         `json:"expires_ms"`
}

// ServiceQuery says which services to list.
type ServiceQuery struct {
	Service string // name, or name/major; "" for all
	Search  bool   // look for providers in the network if none is known; only with Service
}

// ServiceMessage is a message for whoever provides a service.
type ServiceMessage struct {
	Service string // name, or name/major
	Body    []byte
	Try     time.Duration // what one provider may take, at most MaxTryTime; 0 is the node's default
}

// ServiceReply is the answer of a service's provider.
type ServiceReply struct {
	Service string       `json:"service"`
	Peer    string       `json:"peer"` // who answered
	Name    string       `json:"name,omitempty"`
	Tried   []ServiceTry `json:"tried"` // who was tried before
	Answer  []byte       `json:"answer"`
}

// ServiceTry is a provider that did not answer.
type ServiceTry struct {
	Peer  string `json:"peer"`
	Name  string `json:"name,omitempty"`
	Error string `json:"error"`
}
