#!/usr/bin/env bash
# Stage 6: the founding guide's four lines, and what they leave in hand.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

title "6 the four lines"
run container start --name metaanalytics --policy strict-determinism
expect "1000" analytics submit --dataset users --query "SELECT COUNT(*) FROM users"
job=$("$bpi" analytics submit --id-only --dataset users --query "SELECT COUNT(*) FROM users" 2> /dev/null)
expect "inclusion" receipt verify --job-id "$job"
kept=$(mktemp -d /tmp/metaanalytics.XXXXXX)
trap 'rm -rf "$kept"' EXIT
echo "\$ bpi security export-audit --format json > audit.jsonl"
"$bpi" security export-audit --format json > "$kept/audit.jsonl"
"$bpi" receipt get "$job" > "$kept/receipt.json"
"$bpi" chain trust > "$kept/trust.json"

title "6 and with no network"
(
  unset BPI_API BPI_PEER
  export BPI_HOME=$kept/nowhere
  expect "certificate" receipt verify "$kept/receipt.json" --trust "$kept/trust.json"
  expect "headers" security verify-audit "$kept/audit.jsonl" --trust "$kept/trust.json"
)
