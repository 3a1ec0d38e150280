package driver_test

import (
	"testing"
	"testing/synctest"
)

// TestStreamsCutMidway cuts every direct stream of a running network, then kills one of four, then gives the streams back:
// the chain lives on gossip alone, with a dead leader too.
func TestStreamsCutMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startAll(t)
		l.commit("with both paths", 0, l.nodes)
		l.noFast.Store(true)
		sent := l.nodes[0].d.Stats().Sent
		for i, tx := range names("by gossip", 8) {
			l.commit(tx, i%4, l.nodes)
		}
		if l.nodes[0].d.Stats().Sent != sent {
			t.Error("something went by a stream")
		}
		l.nodes[3].stop()
		alive := l.nodes[:3]
		for i, tx := range names("with one dead", 8) {
			l.commit(tx, i%3, alive)
		}
		l.noFast.Store(false)
		l.commit("with both paths again", 1, alive)
		if l.nodes[0].d.Stats().Sent == sent {
			t.Error("the streams are not used again")
		}
		stopAll(alive)
	})
}
