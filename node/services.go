package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/registry"
)

// The services that nodes provide for each other, all of version 1.0. service_handlers.go says what their messages are.
const (
	serviceAPI       = "api"       // the HTTP API, by any member of the chain
	serviceAnalytics = "analytics" // the MetaAnalytics gateway, where its operator offers it
	serviceDataset   = "dataset"   // holders of data sets, named by labels
	serviceNative    = "native"    // executors of programs in images
	serviceSQL       = "sql"       // executors of queries
)

const (
	offersEvery   = time.Second // at most so often the offers are looked at, and at least every ten of these
	withdrawTime  = 2 * time.Second
	apiCapacity   = 256 // what the API lets one caller have under way; see api.Options
	gatewayPlaces = 16  // jobs of others that the gateway waits for at once
	planPlaces    = maxLocalRuns
	holdsListed   = 256 // manifests looked at for the labels of dataset
)

// services tells the mesh what this node offers, and answers what it is asked for.
type services struct {
	n   *Node
	reg *p2p.Services
}

// openServices takes part in the registry. It tells nothing before run.
func (n *Node) openServices() error {
	reg, err := n.host.Services(p2p.ServicesConfig{Known: n.known, Admits: n.admits, Members: n.members})
	if err != nil {
		return err
	}
	n.services = &services{n: n, reg: reg}
	return nil
}

// known reports whether the chain knows a peer: as a validator in force, or as an executor that it admits.
func (n *Node) known(peer sign.PublicKey) bool {
	if n.mesh.isValidator(peer) {
		return true
	}
	_, ok := n.ledger.head.Load().state.Node(peer)
	return ok
}

// members are the peers that the chain knows.
func (n *Node) members() []sign.PublicKey {
	list := slices.Clone(n.mesh.validators())
	for _, x := range n.ledger.head.Load().state.Nodes() {
		if !slices.Contains(list, x.Peer) {
			list = append(list, x.Peer)
		}
	}
	return list
}

// admits reports whether the chain agrees that a peer provides a service: executing is for those whom it places jobs on.
func (n *Node) admits(peer sign.PublicKey, o registry.Offer) bool {
	switch o.Service {
	case serviceSQL, serviceNative:
		x, ok := n.ledger.head.Load().state.Node(peer)
		return ok && x.Registered && x.Slots > 0
	case serviceDataset:
		_, ok := n.ledger.head.Load().state.Node(peer)
		return ok
	}
	return n.known(peer)
}

// offers are what this node provides now.
func (s *services) offers() []registry.Offer {
	n := s.n
	state := n.ledger.head.Load().state
	v1 := registry.Version{Major: 1}
	list := []registry.Offer{{Service: serviceAPI, Version: v1, Capacity: apiCapacity, Labels: roleLabels(n.roles(n.host.Self()))}}
	if n.cfg.Gateway.Enabled && n.cfg.Gateway.Offer {
		list = append(list, registry.Offer{Service: serviceAnalytics, Version: v1, Capacity: gatewayPlaces})
	}
	if labels := s.held(state); len(labels) > 0 {
		list = append(list, registry.Offer{Service: serviceDataset, Version: v1, Capacity: apiCapacity, Labels: labels})
	}
	if !n.executes || n.missing != "" || !n.register.registered() {
		return list
	}
	reg := n.register.wanted()
	slots := reg.Slots
	if reg.Draining {
		slots = 0
	}
	cpu := "cpu=" + reg.CPUClass
	if len(reg.Engines) > 0 && slices.Contains(reg.Policies, cage.Sealed().Digest()) {
		list = append(list, registry.Offer{Service: serviceSQL, Version: v1, Capacity: slots, Labels: []string{cpu, "engine=" + reg.Engines[0].Short()}})
	}
	var modes []string
	for _, p := range cage.Policies() {
		if p.Mode != cage.ModeSealed && slices.Contains(reg.Policies, p.Digest()) {
			modes = append(modes, "policy="+p.Name)
		}
	}
	if len(modes) > 0 {
		list = append(list, registry.Offer{Service: serviceNative, Version: v1, Capacity: slots, Labels: append(modes, cpu)})
	}
	return list
}

func roleLabels(roles []string) []string {
	labels := []string{}
	for _, r := range roles {
		labels = append(labels, "role="+r)
	}
	return labels
}

// held names the data sets that this node holds whole, as NAME@VERSION; the first in order, where there are more than
// labels. A name that does not fit one is left out: the chain's list of holders has them all.
func (s *services) held(state *enc.State) []string {
	self := s.n.host.Self()
	var labels []string
	for _, d := range state.Datasets("", holdsListed) {
		m, ok := state.Manifest(d.Manifest)
		if !ok || !slices.Contains(m.Held, self) {
			continue
		}
		label := fmt.Sprintf("%s@%d", d.Name, d.Version)
		if len(label) > registry.MaxLabel || strings.IndexFunc(label, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			continue
		}
		if labels = append(labels, label); len(labels) == registry.MaxLabels {
			break
		}
	}
	return labels
}

// run keeps what the mesh knows equal to what is so, and takes it back at the end.
func (s *services) run(ctx context.Context) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTime)
		defer cancel()
		if err := s.reg.Withdraw(ctx); err != nil {
			s.n.log.Debug("services not taken back; they expire", "err", err)
		}
	}()
	for {
		if err := s.reg.Announce(s.offers()); err != nil {
			s.n.log.Warn("services not announced; tried again", "err", err)
		}
		_, changed := s.n.ledger.watch()
		pause := time.NewTimer(offersEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(9 * offersEvery):
		}
	}
}
