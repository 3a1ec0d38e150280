#!/usr/bin/env bash
# Stage 1: the cage. The same work gives the same bytes, whoever runs it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

title "1 DockLock: the walls of this machine, and what the policy lets through"
run policy check sealed
"$bpi" policy show sealed > /dev/null

title "1 DockLock: the container"
expect "policy enforced" container start --name metaanalytics --policy strict-determinism

title "1 DockLock: run twice, the second time anew, randomness included"
query="SELECT random() AS r, uuid() AS u, now() AS t FROM range(3)"
first=$("$bpi" --json analytics submit --query "$query" 2> /dev/null)
second=$("$bpi" --json analytics submit --fresh --query "$query" 2> /dev/null)
a=$(field ordered_digest <<< "$first") b=$(field ordered_digest <<< "$second")
echo "first  job $(field job <<< "$first"): result sha256:$a"
echo "second job $(field job <<< "$second"): result sha256:$b"
[ "$(field job <<< "$first")" != "$(field job <<< "$second")" ] || { echo "metaanalytics: it was not run again" >&2; exit 1; }
[ -n "$a" ] && [ "$a" = "$b" ] || { echo "metaanalytics: two runs of one work differ" >&2; exit 1; }
