#!/usr/bin/env bash
# Stage 2: storage, gateway and processing.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

title "2 storage: a data set, held by several peers"
run dataset add examples/data/users.csv --name users
expect "users@" dataset show users

title "2 gateway and processing: POST /submit, run in the cages of three peers"
gateway=$("$bpi" --json node status | field gateway)
body='{"dataset":"users","query":"SELECT COUNT(*) FROM users"}'
echo "\$ curl -X POST http://$gateway/submit -H 'Content-Type: application/json' -d '$body'"
answer=$(curl -sS --fail -X POST "http://$gateway/submit" -H "Content-Type: application/json" -d "$body")
echo "$answer"
grep -q '"rows":\[\[1000\]\]' <<< "$answer" || { echo "metaanalytics: the answer is not 1000" >&2; exit 1; }

title "2 the receipt is where the answer says"
path=$(field path <<< "$answer")
receipt=$(curl -sS --fail "http://$gateway$path")
printf '%s' "${receipt:0:400}"
echo " ..."
