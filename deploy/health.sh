#!/usr/bin/env bash
# Restarts the services of deploy/compose.yaml that are sick, so often and no more, and says what it found.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
compose=(docker compose -f "${COMPOSE_FILE:-$here/compose.yaml}")

usage() {
    cat <<'USAGE'
usage: deploy/health.sh [--dry-run] [--restarts N] [--within SECONDS] [--wait SECONDS] [--memory FILE] [SERVICE...]

Asks every service of deploy/compose.yaml (or those named) for its health, which the engine has from the service
itself, over gRPC or HTTP: each one's healthcheck says how. What has ended, hangs or is unhealthy is restarted, and
waited for. A service that was restarted N times within SECONDS is left alone: then a person has to look.

  --dry-run          only say what is sick
  --restarts N       at most so many restarts of a service ...     (3)
  --within SECONDS   ... in such a time, over all runs of this     (3600)
  --wait SECONDS     how long a restarted service may take         (60)
  --memory FILE      where restarts are remembered between runs    (.health-restarts)

Exit code: 0 all healthy; 1 something was sick and is healthy again; 2 something is sick still; 3 nobody to ask.
A run from cron every minute does:  * * * * * cd /path/to/arbhub && deploy/health.sh
COMPOSE_FILE names another compose file.
USAGE
}

fail() {
    echo "health.sh: $1" >&2
    exit 3
}

number() {
    [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1 should be a whole number, not $2"
}

# A line a service: name, state, health and exit code. A service that is not there at all has none.
states() { "${compose[@]}" ps --all --format '{{.Service}} {{.State}} {{or .Health "-"}} {{.ExitCode}}' "$@"; }

# What a line of that comes to: well, starting, or why it is sick. What was to run once and did is well.
judged() {
    case "$2 $3 $4" in
        'running healthy '* | 'running - '* | 'exited - 0' | 'exited healthy 0') echo well ;;
        'running starting '* | 'restarting '*) echo starting ;;
        running*) echo "$3" ;;
        *) echo "$2" ;;
    esac
}

state_of() {
    local line
    line=$(states "$1" | head -n 1)
    # shellcheck disable=SC2086  # the words of a line are the arguments
    if [ -n "$line" ]; then judged $line; else echo gone; fi
}

recent() { # how often a service was restarted lately
    local since=$(($(date +%s) - within))
    [ -f "$memory" ] || { echo 0; return; }
    awk -v service="$1" -v since="$since" '$2 == service && $1 >= since' "$memory" | wc -l
}

settled() { # its state, once it is no longer starting, or the time is up
    local until=$((SECONDS + wait_s)) state
    while state=$(state_of "$1"); [ "$state" = starting ] && [ "$SECONDS" -lt "$until" ]; do sleep 1; done
    echo "$state"
}

restart() { # 0: it is well now
    echo "$(date +%s) $1" >>"$memory"
    "${compose[@]}" unpause "$1" >/dev/null 2>&1 || true # only what is paused can be
    "${compose[@]}" restart "$1" >/dev/null 2>&1 || { echo "$1: cannot be restarted"; return 1; }
    local now
    now=$(settled "$1")
    echo "$1: restarted, now $now"
    [ "$now" = well ]
}

dry='' restarts=3 within=3600 wait_s=60 memory=.health-restarts services=()
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --dry-run) dry=yes; shift ;;
        --restarts) number "$@"; restarts=$2; shift 2 ;;
        --within) number "$@"; within=$2; shift 2 ;;
        --wait) number "$@"; wait_s=$2; shift 2 ;;
        --memory) [ "$#" -ge 2 ] || fail "--memory needs a FILE"; memory=$2; shift 2 ;;
        -*) fail "there is no option $1; --help shows what there is" ;;
        *) services+=("$1"); shift ;;
    esac
done
command -v docker >/dev/null || fail "docker is not installed here: without it there is nobody to ask"
docker info >/dev/null 2>&1 || fail "no Docker engine answers: start it, or set DOCKER_HOST"
if [ "${#services[@]}" -eq 0 ]; then
    mapfile -t services < <(states | awk '{ print $1 }' | sort -u)
    [ "${#services[@]}" -gt 0 ] || fail "no service was ever started: docker compose -f deploy/compose.yaml up --detach"
fi

outcome=0
for service in "${services[@]}"; do
    state=$(settled "$service")
    if [ "$state" = well ]; then
        echo "$service: well"
    elif [ -n "$dry" ] || [ "$state" = gone ]; then
        echo "$service: $state"
        outcome=2
    elif [ "$(recent "$service")" -ge "$restarts" ]; then
        echo "$service: $state, and left alone after $restarts restarts within $within s: look at its log"
        outcome=2
    else
        echo "$service: $state"
        if ! restart "$service"; then outcome=2; elif [ "$outcome" -eq 0 ]; then outcome=1; fi
    fi
done
exit "$outcome"
