// Package e2e holds the tests that run whole networks: several processes of the real program on loopback, with real
// disks, real cages and real faults. They need the binaries (BPI_BIN and BPI_ENGINE, which `make e2e` sets) and user
// namespaces, and skip with the reason where one is missing. Those with a client in JavaScript (folder js) need npm and its
// registry once, for packages that stay in the user's cache.
//
// Some lay a network of their own in network namespaces: switches, wires that are pulled, moved, slowed and given other
// addresses, and routers that translate addresses (netns_test.go). Those need root and the commands ip, tc and nft; nothing
// that they do touches the machine's network, and it is gone when they end.
package e2e
