package p2p

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/p2p/registry"
)

// TestWhoComesToAMeshOfFewGetsItsRecords: a record that was written before a peer came is on that peer soon, so that a
// client which knows nobody else finds the provider there.
func TestWhoComesToAMeshOfFewGetsItsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSimMesh(t, 3)
		defer m.close()
		early, late := m.hosts[0], m.hosts[2]
		for _, h := range m.hosts {
			m.runs.Go(func() { _ = h.Run(context.Background()) })
		}
		if _, err := m.hosts[1].Connect(t.Context(), early.Addrs()[0]); err != nil {
			t.Fatal(err)
		}
		offerEcho(t, testServices(t, early, ServicesConfig{}), "echo")
		key := registry.Key("testnet-1", "echo", 1).Hash()
		has := func(h *Host) bool {
			list, err := h.dht.ProviderStore().GetProviders(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return len(list) == 1 && list[0].ID == early.ID()
		}
		until(t, "the record is on the peer that is there", time.Minute, func() bool { return has(m.hosts[1]) })
		if _, err := late.Connect(t.Context(), m.hosts[1].Addrs()[0]); err != nil {
			t.Fatal(err)
		}
		until(t, "the record is on the peer that came later", time.Minute, func() bool { return has(late) })
	})
}
