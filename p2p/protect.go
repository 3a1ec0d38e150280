package p2p

import "github.com/metanode/metanode/internal/sign"

// ProtectOnly makes the validators that are never let go to make room exactly these peers, in place of Config.Protected
// and of those of an earlier call. Bootstrap peers stay protected.
func (p *Host) ProtectOnly(peers []sign.PublicKey) {
	conns := p.h.ConnManager()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.protected {
		conns.Unprotect(id, tagValidator)
	}
	p.protected = p.protected[:0]
	for _, k := range peers {
		if k == p.self {
			continue
		}
		id := PeerID(k)
		conns.Protect(id, tagValidator)
		p.protected = append(p.protected, id)
	}
}
