package p2p

import "github.com/libp2p/go-libp2p/p2p/protocol/holepunch"

// holes counts what became of relayed connections: a direct one in their place, made by a dial to a peer that can be
// dialed after all or by both ends dialing each other through their NATs at one moment, or none.
type holes struct{ stats *counters }

// Trace implements holepunch.EventTracer.
func (h holes) Trace(e *holepunch.Event) {
	switch x := e.Evt.(type) {
	case *holepunch.DirectDialEvt:
		if x.Success { // otherwise it goes on with punching
			h.stats.holesTried.add(1)
			h.stats.holesMade.add(1)
		}
	case *holepunch.EndHolePunchEvt:
		h.stats.holesTried.add(1)
		if x.Success {
			h.stats.holesMade.add(1)
		}
	}
}
