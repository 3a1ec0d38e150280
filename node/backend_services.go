package node

import (
	"context"
	"errors"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/registry"
)

// Services implements api.Services.
func (b *backend) Services(ctx context.Context, q api.ServiceQuery) ([]api.Service, error) {
	reg := b.n.services.reg
	list := reg.List()
	if q.Service != "" {
		name, major, err := registry.Split(q.Service)
		if err != nil {
			return nil, api.Malformed("see: bpi network services", "%v", err)
		}
		if q.Search {
			if _, err := reg.Find(ctx, name, major); err != nil {
				return nil, err
			}
			list = reg.List()
		}
		kept := list[:0]
		for _, p := range list {
			if p.Offer.Service == name && p.Offer.Version.Major == major {
				kept = append(kept, p)
			}
		}
		list = kept
	}
	out := []api.Service{}
	for _, p := range list {
		out = append(out, api.Service{
			Service: p.Offer.ID(), Version: p.Offer.Version.String(), Peer: p2p.PeerID(p.Peer).String(), Key: p.Peer, Name: b.n.nameOf(p.Peer),
			Capacity: p.Offer.Capacity, Labels: p.Offer.Labels, Addresses: reg.Addrs(p.Peer), Seq: p.Seq, ExpiresMs: p.ExpiresMs,
		})
	}
	return out, nil
}

// SendToService implements api.Services.
func (b *backend) SendToService(ctx context.Context, m api.ServiceMessage) (api.ServiceReply, error) {
	name, major, err := registry.Split(m.Service)
	if err != nil {
		return api.ServiceReply{}, api.Malformed("see: bpi network services", "%v", err)
	}
	r, err := b.n.services.reg.Send(ctx, name, major, m.Body, p2p.SendOptions{TryTime: m.Try})
	out := api.ServiceReply{Service: m.Service, Tried: []api.ServiceTry{}, Answer: r.Answer}
	for _, t := range r.Tried {
		out.Tried = append(out.Tried, api.ServiceTry{Peer: p2p.PeerID(t.Peer).String(), Name: b.n.nameOf(t.Peer), Error: t.Err.Error()})
	}
	var remote *p2p.RemoteError
	switch {
	case err == nil:
		out.Peer, out.Name = p2p.PeerID(r.From).String(), b.n.nameOf(r.From)
		return out, nil
	case errors.Is(err, p2p.ErrNoService):
		return out, api.NotFound("see: bpi network services", "no peer that the chain knows offers service %s", m.Service)
	case !r.From.IsZero() && errors.As(err, &remote):
		return out, api.Refused("", "service %s: peer %s refuses: %s", m.Service, b.n.peerName(r.From), remote.Message)
	case ctx.Err() != nil:
		return out, ctx.Err()
	}
	return out, api.Unavailable("try again later", "%v", err)
}
