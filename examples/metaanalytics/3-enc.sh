#!/usr/bin/env bash
# Stage 3: ENC places work, and takes a result when enough peers agree on it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

query="SELECT country, COUNT(*) AS n FROM users GROUP BY country ORDER BY n DESC, country LIMIT 5"
title "3 ENC: who could run it"
expect "yes" job plan --dataset users "$query"

title "3 ENC: ordered, placed, run, agreed, sealed"
job=$("$bpi" analytics submit --fresh --id-only --dataset users "$query")
run job history --no-follow "$job"
expect "matched" job executions "$job"

title "3 ENC: do the peers agree?"
expect "sealed" job diff "$job"
