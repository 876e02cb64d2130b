#!/usr/bin/env bash
# May this be merged? Sweeps the server at $URL and holds the run against earlier runs of the main branch. For any runner
# with bash and benchsuite. On the main branch REFRESH=1: a run that passes joins the earlier ones in $STATE, a folder that
# the runner keeps. Exit codes: 0 pass, 5 fail, 6 undecided, 2 bad input, 1 the server could not be measured.
set -euo pipefail
URL=${URL:-http://127.0.0.1:8000}
STATE=${STATE:-perf}
LEVELS=${LEVELS:-4,8} # two levels tell the spread sooner than one
REQUESTS=${REQUESTS:-64}
TOKENS=${TOKENS:-32} # of an answer: at 100 tok/s a run takes less than a minute
REPEATS=${REPEATS:-3}
MARGINS=${MARGINS:-tpot=10%,throughput=10%} # TTFT where `benchsuite gate RUN --history DIR --plan` says that it is decided
INCONCLUSIVE=${INCONCLUSIVE:-warn}
ALLOW=${ALLOW:-}
run=${RUN:-results/gate-$(date -u +%Y%m%dT%H%M%SZ)-$$}

benchsuite sweep --base-url "$URL" --concurrency "$LEVELS" --requests "$REQUESTS" --repeats "$REPEATS" --random-seed 1 \
    --max-output-tokens "$TOKENS" --warmup-requests 16 \
    --quiet --output "$run" || { code=$?; [ $code -eq 3 ] || [ $code -eq 6 ] || exit $code; } # its SLO is not the gate's
benchsuite gate "$run" --history "$STATE/history" --anchor "$STATE/anchor" --max-regression "$MARGINS" --allow "$ALLOW" \
    --inconclusive "$INCONCLUSIVE" --junit "$run/gate.xml" ${REFRESH:+--refresh}
