package p2p

import (
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// TestClientOfAnotherLibraryNamesTheNetworkAsAProtocol has clients that say in identify what their library says for all of
// its users. One that handles a protocol of the network's name is a peer like others; others are strangers.
func TestClientOfAnotherLibraryNamesTheNetworkAsAProtocol(t *testing.T) {
	a := testHost(t, nil)
	to, err := peer.AddrInfoFromString(a.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	dial := func(handles string) *hosted {
		h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.ProtocolVersion("ipfs/0.1.0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		h.SetStreamHandler(protocol.ID(handles), func(s network.Stream) { _ = s.Reset() })
		if err := h.Connect(t.Context(), *to); err != nil {
			t.Fatal(err)
		}
		return &hosted{h, handles}
	}
	friend := dial(MemberVersion("testnet-1"))
	var strangers []*hosted
	for _, handles := range []string{
		MemberVersion("testnet-2"),
		"/bpci/1/testnet-1",
		MemberVersion("testnet-1") + "/rest",
		"/bpci/testnet-1/kad/1.0.0", // says nothing of the version
	} {
		strangers = append(strangers, dial(handles))
	}
	eventually(t, "the client is of the network", func() bool { return a.isMember(friend.ID()) })
	for _, s := range strangers {
		eventually(t, "the client that handles "+s.handles+" is closed", func() bool { return s.Network().Connectedness(to.ID) != network.Connected })
		if a.isMember(s.ID()) {
			t.Errorf("a client that handles %s is of the network", s.handles)
		}
	}
	if friend.Network().Connectedness(to.ID) != network.Connected {
		t.Error("the client of the network was closed like the strangers")
	}
}

// hosted is a host with the one protocol that it handles besides libp2p's.
type hosted struct {
	host.Host
	handles string
}

// TestPeerOfAnotherLibraryIsConnectedTo dials one, as a command of a person does.
func TestPeerOfAnotherLibraryIsConnectedTo(t *testing.T) {
	a := testHost(t, nil)
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.ProtocolVersion("ipfs/0.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.SetStreamHandler(protocol.ID(MemberVersion("testnet-1")), func(s network.Stream) { _ = s.Reset() })
	if _, err := a.Connect(t.Context(), h.Addrs()[0].String()+"/p2p/"+h.ID().String()); err != nil {
		t.Errorf("connect: %v", err)
	}
}
