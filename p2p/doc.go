// Package p2p is BPCI, the mesh: it finds peers, proves who they are, and carries bytes between them.
//
// # Vocabulary
//
// A Host is one peer's presence on one network. Its libp2p identity is the node key, so a peer id and a sign.PublicKey
// are two spellings of one thing (PeerID, PublicKey). A network is named by the chain's display name, which is part of
// every protocol and topic: peers of two networks never understand each other, and a connection between them is closed
// as soon as both have said what they speak.
//
// On a private network (Config.Private) both ends of a connection are members: by the chain, by the configuration, or by
// an invitation (package p2p/invite). The gate refuses everybody else when the handshake has proved who it is, before
// anything more is said. A newcomer shows its admission at the door, which is beside the ordinary handshakes and never
// leads to a connection (door.go, docs/decisions/0019). The roll is who the members are; they tell each other (spread.go).
// A sealed network (Config.SwarmKey) encrypts the handshakes, too.
//
// # What carries what
//
//   - Topic: gossip, for what everyone should hear. Lossy under pressure; what must arrive needs its own answer.
//   - Links: one long-lived outbound stream a peer, for the microseconds between validators. Lossy, ordered while up.
//   - Handle and Call: request and response on persistent streams, with limits a peer.
//   - Listener and DialStream: a net.Listener and a net.Conn over the mesh, for the HTTP API.
//   - Services: who offers what, by signed descriptions, and messages to a service by its name (with package p2p/registry).
//   - Guests: foreign peers, of no Metanode network, that speak Bitswap (kubo): blobs are exchanged with them (guest.go).
//   - Exchange: blobs as blocks over Bitswap, verified one by one, resumed, from every provider at once; by CID, or by
//     digest, whose CID peers are asked for (with package p2p/blob).
//
// # Guarantees
//
// The key handed to a handler is the one the peer proved in the Noise or TLS handshake. Every length that a stranger
// chooses is bounded before memory is taken for it. A peer that sends garbage is scored (see Host.Penalise): its stream
// is closed, and when it goes on it is disconnected and kept out for a while. An outsider of a private network who knows
// every address learns that a libp2p host is there; what a membership gave ends within a second of its invitation.
//
// # Lifetime
//
// New listens and answers; Run keeps the mesh together (bootstrap, saved peers) until its context ends or Close is
// called, and returns when everything the Host started has ended. A client host (Config.Client) only dials. A machine may
// change its addresses meanwhile: others are told, and connections that do not survive it are made anew (moves.go).
//
// # What it does not do
//
// It never decides what a message means, and trusts no answer it fetched: what the chain knows and agrees with is for the
// node to say (ServicesConfig).
package p2p
