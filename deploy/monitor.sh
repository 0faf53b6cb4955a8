#!/usr/bin/env bash
# A running arbhub at a glance: what runs, what it decides and earns, and its last words. It only looks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
compose=(docker compose --ansi never -f "${COMPOSE_FILE:-$here/compose.yaml}")

usage() {
    cat <<'USAGE'
usage: deploy/monitor.sh [--interval N] [--logs N] [--times N] [--url URL] [--token-file FILE] [--log-file FILE]

Prints every N seconds, until Ctrl-C, what runs, key figures from the hub's /metrics, and the last lines of the log.

  --interval N       seconds between two looks                          (5)
  --logs N           how many lines of the log                          (10)
  --times N          end after so many looks; 0: never                  (0)
  --url URL          the hub's HTTP port                                (http://127.0.0.1:7408)
  --token-file FILE  the hub's token, where it asks for one
  --log-file FILE    a log to show; otherwise that of the containers, where Docker runs them

Exit code: 0, or 1 where the last look found no hub. COMPOSE_FILE names another compose file.
`arbhub top` shows more, live.
USAGE
}

fail() {
    echo "monitor.sh: $1" >&2
    exit 2
}

number() {
    [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1 should be a whole number, not $2"
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }

ask() { # the token goes in by standard input: what is among the arguments, ps shows
    { [ -z "$token_file" ] || printf 'header = "Authorization: Bearer %s"\n' "$(cat "$token_file")"; } |
        curl --config - --silent --show-error --max-time 5 "$url$1"
}

services() {
    echo "-- services"
    if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        "${compose[@]}" ps --all --format 'table {{.Service}}\t{{.Status}}'
    else
        echo "(no Docker here: the hub alone is asked)"
    fi
    printf 'hub ready: %s\n' "$(ask /ready 2>&1)"
}

# The figures that say whether we trade, whether we are fast, whether anything fails, and what it earns.
figures() {
    awk '
        /^#/ { next }
        { value = $NF; name = $1; sub(/\{.*/, "", name) }
        name == "arbhub_trading_state" && value == 1 { state = label("state") }
        name == "arbhub_executor_up" { executor = value == 1 ? "up" : "down" }
        name == "arbhub_ticks_total" { ticks = value }
        name == "arbhub_decisions_total" && /reason="approved"/ { approved = value }
        name == "arbhub_decisions_total" && !/reason="approved"/ && value > 0 { rejected[label("reason")] = value + 0 }
        name == "arbhub_denied_decisions_total" { denied += value }
        name == "arbhub_fills_total" { fills = value }
        name == "arbhub_round_duration_seconds_count" { rounds = value }
        name == "arbhub_round_duration_seconds_bucket" { bounds[++n] = label("le"); counts[n] = value }
        name == "arbhub_engine_up" { engines = engines " " label("engine") (value == 1 ? "" : "(down)") }
        name == "arbhub_engine_timeouts_total" { timeouts += value }
        name == "arbhub_engine_breaker" && /state="open"/ && value == 1 { open = open " " label("engine") }
        name == "arbhub_realised_pnl" { pnl = pnl " " value " " label("asset") }
        function label(which) { match($0, which "=\"[^\"]*\""); return substr($0, RSTART + length(which) + 2, RLENGTH - length(which) - 3) }
        function tail(share,   k) { for (k = 1; k <= n; k++) if (counts[k] >= share * rounds) return bounds[k] == "+Inf" ? "beyond the last bound" : bounds[k] * 1000 " ms" }
        END {
            if (ticks == "") { print "the hub gave no figures"; exit 1 }
            print "trading    " (state == "" ? "nobody has said" : state) ", executor " executor
            print "decided    " ticks + 0 " ticks, " approved + 0 " approved, " denied + 0 " denied at the gate, " fills + 0 " fills"
            for (reason in rejected) print "           " rejected[reason] " " reason
            if (rounds > 0) print "rounds     at most " tail(0.5) " for half of them, " tail(0.9999) " for 99.99%"
            print "engines   " engines ", " timeouts + 0 " timeouts, breakers open:" (open == "" ? " none" : open)
            print "earned    " (pnl == "" ? " nothing yet" : pnl)
        }'
}

last_words() {
    [ "$lines" -gt 0 ] || return 0
    echo "-- the last $lines lines of the log"
    if [ -n "$log_file" ]; then
        tail -n "$lines" "$log_file"
    elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        "${compose[@]}" logs --no-color --tail "$lines" | tail -n "$lines"
    else
        echo "(no Docker here: name a file with --log-file)"
    fi
}

look() {
    echo "== $(date '+%F %T')"
    services
    echo "-- figures"
    local got code=0
    if got=$(ask /metrics 2>&1); then figures <<<"$got" || code=1; else echo "$got"; code=1; fi
    last_words
    return "$code"
}

interval=5 lines=10 times=0 url=http://127.0.0.1:7408 token_file='' log_file=''
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --interval) number "$@"; interval=$2; shift 2 ;;
        --logs) number "$@"; lines=$2; shift 2 ;;
        --times) number "$@"; times=$2; shift 2 ;;
        --url) value "$@"; url=${2%/}; shift 2 ;;
        --token-file) value "$@"; token_file=$2; shift 2 ;;
        --log-file) value "$@"; log_file=$2; shift 2 ;;
        *) fail "there is no option $1; --help shows what there is" ;;
    esac
done
command -v curl >/dev/null || fail "curl is not installed here: the hub cannot be asked"
[ -z "$token_file" ] || [ -r "$token_file" ] || fail "$token_file: cannot be read"
[ -z "$log_file" ] || [ -r "$log_file" ] || fail "$log_file: cannot be read"

for ((looked = 1; ; looked++)); do
    code=0
    look || code=$?
    [ "$times" -eq 0 ] || [ "$looked" -lt "$times" ] || exit "$code"
    sleep "$interval"
done
