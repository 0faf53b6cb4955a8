#!/usr/bin/env bash
# Restarts the services of deploy/compose.yaml that are sick, so often and no more, and says what it found.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
compose=(docker compose -f "${COMPOSE_FILE:-$here/compose.yaml}")

usage() {
    cat <<'USAGE'
usage: deploy/health.sh [--dry-run] [--restarts N] [--within SECONDS] [--wait SECONDS] [--memory FILE] [SERVICE...]

Asks every service of deploy/compose.yaml (or those named) for its health, which the engine has from the service
itself, over gRPC or HTTP: each one's healthcheck says how. What has ended, is paused or unhealthy is restarted, and
waited for; what was to run once, and did, is well. Containers are restarted one by one, a replica at a time. One that
was restarted N times within SECONDS is left alone: then a person has to look.

  --dry-run          only say what is sick
  --restarts N       at most so many restarts of a container ...   (3)
  --within SECONDS   ... in such a time, over all runs of this     (3600)
  --wait SECONDS     how long one that starts may take             (60)
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

# The containers of the services named, all where none is.
containers() { "${compose[@]}" ps --all --quiet "$@"; }

# A container's name, state, health ("-": it has no healthcheck), exit code and restart policy.
inspected() {
    docker inspect --format '{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.State.ExitCode}} {{.HostConfig.RestartPolicy.Name}}' "$1"
}

# Whether a container is well, starting, or how it is sick. What was to run once, and did, is well.
state_of() {
    local state health code policy
    read -r _ state health code policy < <(inspected "$1") || { echo gone; return; }
    case "$state $health" in
        'running healthy' | 'running -') echo well ;;
        'running starting' | 'restarting '*) echo starting ;;
        'running '*) echo "$health" ;;
        'exited -') if [ "$code" = 0 ] && [ "${policy:-no}" = no ]; then echo well; else echo exited; fi ;;
        *) echo "$state" ;;
    esac
}

recent() { # how often a container was restarted lately
    local since=$(($(date +%s) - within))
    [ -f "$memory" ] || { echo 0; return; }
    awk -v name="$1" -v since="$since" '$2 == name && $1 >= since' "$memory" | wc -l
}

settled() { # its state, once it is no longer starting, or the time is up
    local until=$((SECONDS + wait_s)) state
    while state=$(state_of "$1"); [ "$state" = starting ] && [ "$SECONDS" -lt "$until" ]; do sleep 1; done
    echo "$state"
}

restart() { # of a container by its name; 0: it is well now
    echo "$(date +%s) $1" >>"$memory"
    docker unpause "$1" >/dev/null 2>&1 || true # only what is paused can be
    docker restart "$1" >/dev/null 2>&1 || { echo "$1: cannot be restarted"; return 1; }
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
outcome=0
worst() { if [ "$1" -gt "$outcome" ]; then outcome=$1; fi; }

found=()
if [ "${#services[@]}" -eq 0 ]; then
    mapfile -t found < <(containers)
    [ "${#found[@]}" -gt 0 ] || fail "nothing was ever started of it: docker compose up"
fi
for service in "${services[@]}"; do
    mapfile -t its < <(containers "$service" 2>/dev/null)
    if [ "${#its[@]}" -eq 0 ]; then echo "$service: not there"; worst 2; else found+=("${its[@]}"); fi
done

for id in "${found[@]}"; do
    read -r name _ < <(inspected "$id") || continue # it was taken away meanwhile
    name=${name#/}
    state=$(settled "$name")
    if [ "$state" = well ]; then
        echo "$name: well"
    elif [ -n "$dry" ]; then
        echo "$name: $state"
        worst 2
    elif [ "$(recent "$name")" -ge "$restarts" ]; then
        echo "$name: $state, and left alone after $restarts restarts within $within s: look at its log"
        worst 2
    else
        echo "$name: $state"
        if restart "$name"; then worst 1; else worst 2; fi
    fi
done
exit "$outcome"
