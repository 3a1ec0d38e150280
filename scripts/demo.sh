#!/usr/bin/env bash
# Four peers as separate processes, a data set, a job through two of them, and its receipt verified with the network
# down. Everything lives in a temporary folder that is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

bpi=$PWD/build/bpi
work=$(mktemp -d /tmp/metanode-demo.XXXXXX)
export BPI_HOME=$work/home
unset BPI_API BPI_PEER BPI_JSON BPI_TIMEOUT
cleanup() {
  "$bpi" devnet down > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

step() { printf '\n== %s\n' "$1"; }
run() { echo "\$ bpi $*"; "$bpi" "$@"; }

step "four peers on this machine"
echo "\$ bpi devnet up --nodes 4 --gateway-port 0 --detach"
"$bpi" devnet up --nodes 4 --gateway-port 0 --detach > "$work/exports"
cat "$work/exports"
# shellcheck disable=SC1091
source "$work/exports"

step "a data set"
run dataset add examples/data/users.csv --name users

step "a query, through the first peer"
run analytics submit --dataset users --query "SELECT COUNT(*) FROM users"

step "another, through the last peer, over libp2p and without a local node"
last=$("$bpi" devnet status --json | grep -o '"address": "[^"]*"' | tail -1 | cut -d'"' -f4)
(
  unset BPI_API
  run --peer "$last" analytics submit --dataset users \
    --query "SELECT country, COUNT(*) FROM users GROUP BY country ORDER BY 2 DESC, 1 LIMIT 5"
)

step "the receipt, the trust file and the audit, kept while the network is up"
job=$("$bpi" job list --state sealed --id-only --limit 1)
"$bpi" receipt get "$job" > "$work/r.json"
"$bpi" chain trust > "$work/trust.json"
"$bpi" security export-audit --format json > "$work/audit.jsonl"
wc -c "$work/r.json" "$work/trust.json" "$work/audit.jsonl" | sed "s|$work/||"

step "the network goes down"
run devnet down
unset BPI_API

step "and the receipt still verifies"
run receipt verify "$work/r.json" --trust "$work/trust.json"
run security verify-audit "$work/audit.jsonl" --trust "$work/trust.json"

step "but not with one character changed"
sed -E 's/("payload": *"ey)J/\1K/' "$work/r.json" > "$work/forged.json" # the statement's first character
if cmp -s "$work/r.json" "$work/forged.json"; then
  echo "demo: the receipt was not changed" >&2
  exit 1
fi
code=0
"$bpi" receipt verify "$work/forged.json" --trust "$work/trust.json" || code=$?
if [ "$code" -ne 6 ]; then
  echo "demo: a forged receipt ended with exit code $code instead of 6" >&2
  exit 1
fi
printf '\ndemo: done\n'
