#!/usr/bin/env bash
# All six stages on a devnet of four peers in a temporary folder, which is removed at the end.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

unset BPI_API BPI_PEER BPI_JSON BPI_TIMEOUT
work=$(mktemp -d /tmp/metaanalytics.XXXXXX)
export BPI_HOME=$work BPI_BIN=$bpi
cleanup() {
  "$bpi" devnet down > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

title "0 a network of four peers"
run devnet up --nodes 4 --gateway-port 0 --detach > /dev/null
for stage in 1-docklock 2-services 3-enc 4-bpi 5-bpci 6-saas; do
  "examples/metaanalytics/$stage.sh"
done
printf '\nmetaanalytics: all stages done\n'
