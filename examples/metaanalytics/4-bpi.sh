#!/usr/bin/env bash
# Stage 4: BPI orders, and proves what it ordered.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

title "4 BPI: the chain and its validators"
expect "height" chain status
run chain validators

title "4 BPI: the block that holds a job's seal"
job=$("$bpi" job list --state sealed --id-only --limit 1)
height=$("$bpi" --json job describe "$job" | grep -o '"seal_height": *[0-9]*' | grep -o '[0-9]*$')
expect "job-sealed" chain block "$height"

title "4 BPI: what a verifier needs to believe"
expect "validators" chain trust
