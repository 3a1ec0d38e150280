package node

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/p2p"
)

// TestMembersNameTheProtocolVersion: the mesh cannot import it.
func TestMembersNameTheProtocolVersion(t *testing.T) {
	if p2p.Protocol != consensus.ProtocolVersion {
		t.Errorf("members name version %d, the chain is of version %d", p2p.Protocol, consensus.ProtocolVersion)
	}
}

// TestStateOfAnotherVersionIsRefusedAndNotCalledDamaged opens a database whose state is of the first version.
func TestStateOfAnotherVersionIsRefusedAndNotCalledDamaged(t *testing.T) {
	db, err := openDatabase(filepath.Join(t.TempDir(), "chain"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Put(t.Context(), datastore.RawKey(headKey), canon.Must(&consensus.Header{Version: 1})); err != nil {
		t.Fatal(err)
	}
	_, _, err = openLedger(t.Context(), db, testGenesis(t))
	var other *consensus.VersionError
	if err = db.explain(err); !errors.As(err, &other) || errors.Is(err, errSpoiled) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"version 1", "version 2", "use a bpi release of version 1", "a data folder of its own"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}
