// Package consensus is BPI: a HotStuff-style BFT core that orders opaque transactions into a chain of certified blocks.
package consensus
