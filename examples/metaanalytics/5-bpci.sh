#!/usr/bin/env bash
# Stage 5: BPCI, the mesh: encrypted, every peer proved by its id.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

title "5 BPCI: peers and services"
run network peers
expect "analytics" network services

title "5 BPCI: a peer reached from a machine without a node"
address=$("$bpi" network services --json | grep -o '/ip4/[^"]*/tcp/[^"]*' | sed -n 1p)
elsewhere=$(mktemp -d /tmp/metaanalytics.XXXXXX)
trap 'rm -rf "$elsewhere"' EXIT
(
  unset BPI_API BPI_PEER
  export BPI_HOME=$elsewhere
  run network ping "$address"
  expect "1000" --peer "$address" analytics submit --dataset users "SELECT COUNT(*) FROM users"
)
