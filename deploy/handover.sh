#!/usr/bin/env bash
# Puts another release in the place of one of compose's services, without a gap: the successor is there, and has been
# probed, before the one that serves is stopped. Whatever goes wrong, what served serves again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export COMPOSE_FILE=${COMPOSE_FILE:-$here/compose.yaml}

usage() {
    cat <<'USAGE'
usage: deploy/handover.sh [--timeout S] [--settle S] --image IMAGE SERVICE

Replaces each container of a service of deploy/compose.yaml by one of IMAGE:
  1. starts the successor beside it;
  2. probes it. hub, executor, engine-risk and feed have one writer at a time: it must stand ready for its turn. Any
     other must be healthy, and then gets --settle seconds to be found by the hub, which looks every 5 s;
  3. stops the old one: SIGTERM, it drains and ends, and the successor has the turn;
  4. waits until the successor is healthy, and the hub as ready as it was before; then removes the old one.
Where 1 or 2 fails, the successor is removed and nothing was touched. Where 4 fails, the old one is started again.
An executor whose ledger is newer than IMAGE knows is stopped first and the ledger taken down (deploy/ledger.sh):
meanwhile every tick is answered, and nothing approved.

  --image IMAGE  what to run instead
  --timeout S    how long each step may take                       (120)
  --settle S     how long hubs have to find a stateless engine     (6)

Exit code: 0 replaced; 1 not replaced, and what served serves; 2 wrong words. It heeds what docker compose does:
COMPOSE_FILE, COMPOSE_ENV_FILES, COMPOSE_PROJECT_NAME. deploy/deploy.sh calls it for one service after the other.
USAGE
}

fail() {
    echo "handover.sh: $1" >&2
    exit "${2:-2}"
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }
number() {
    value "$@"
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1 should be a whole number of seconds, not $2"
}
said() { printf '%4d s  %s: %s\n' "$SECONDS" "$service" "$1"; }

running() { docker compose ps --quiet "$service"; }
exists() { docker inspect --format '{{.Id}}' "$1" >/dev/null 2>&1; }
state() { docker inspect --format '{{.State.Status}}, {{.RestartCount}} restarts' "$1" 2>/dev/null || echo gone; }
healthy() { [ "$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$1")" = 'running healthy' ]; }

# Where a service with one writer at a time says that it stands ready; nothing for the others.
turn_of() {
    case $service in
        feed) echo 127.0.0.1:7400 ;;
        hub) echo 127.0.0.1:7401 ;;
        engine-risk) echo 127.0.0.1:7405 ;;
        executor) echo 127.0.0.1:7406 ;;
    esac
}
stands_ready() { docker exec "$1" probe "$(turn_of)" turn >/dev/null 2>&1; }

# The hub's own word that ticks can be approved; from within its container, where the token is.
ready='import urllib.request as u
u.urlopen(u.Request("http://127.0.0.1:7408/ready",
    headers={"Authorization": "Bearer " + open("/run/arbhub/token/token").read().strip()}), timeout=5)'
hub_ready() {
    local id
    for id in $(docker compose ps --quiet hub); do
        if docker exec "$id" python3 -c "$ready" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

# Whether it comes to what a command asks for of a container before the time is up; not where that has ended.
comes() { # CONTAINER COMMAND...
    local container=$1 until=$((SECONDS + timeout))
    shift
    until "$@"; do
        case $(state "$container") in 'running, 0 restarts' | 'created, 0 restarts') ;; *) return 1 ;; esac
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.5
    done
}

last_words() { docker logs --tail 3 "$1" 2>&1 | sed 's/^/        /' >&2; }

# Starts the old one again, or, where it was removed already, another one of its image.
revive() { # CONTAINER IMAGE
    if exists "$1"; then docker start "$1" >/dev/null; else image=$2 && start; fi
}

# However this ends, somebody serves: until the old one is stopped, the successor goes; after that it is who serves; and
# where the old one was stopped before there was a successor ($down), it is started again.
new='' stopped='' down='' starting=''
undo() {
    if [ -n "$starting" ] && [ -z "$new" ]; then new=$(newcomer); fi
    if [ -n "$down" ] && [ -z "$new" ]; then revive "$down" "$theirs" || true; fi
    if [ -n "$new" ] && [ -z "$stopped" ] && exists "$new"; then docker rm --force "$new" >/dev/null; fi
    rm -f "$before" "$before.said"
}

newcomer() { docker compose ps --all --quiet "$service" | sort | comm -13 "$before" -; }

start() { # a second container of the new image beside what runs; its id is in $new
    local created=0
    docker compose ps --all --quiet "$service" | sort >"$before"
    starting=yes
    HUB_IMAGE=$image docker compose up --detach --no-deps --no-recreate --no-build \
        --scale "$service=$(($(running | wc -l) + 1))" "$service" >/dev/null 2>"$before.said" || created=$?
    new=$(newcomer)
    starting=''
    [ -n "$new" ] || { cat "$before.said" >&2; fail "$service: no container of $image could be started" 1; }
    return "$created"
}

refuse() { # the successor, before anything was touched
    last_words "$new"
    fail "$service: $image $1, so nothing was replaced; its last lines are above" 1
}

probe() { # the successor, before it gets anything to do
    if [ -n "$(turn_of)" ]; then
        comes "$new" stands_ready "$new" || refuse "does not stand ready for its turn ($(state "$new"))"
        said "$image stands ready"
    else
        comes "$new" healthy "$new" || refuse "does not become healthy ($(state "$new"))"
        said "$image is healthy; ${settle} s for the hub to find it"
        sleep "$settle"
    fi
}

back() { # to the old one, as the successor does not do
    local old=$1
    last_words "$new"
    docker rm --force "$new" >/dev/null
    new='' down=''
    if [ "$service" = executor ]; then "$here/ledger.sh" --by "$image" "$2" || true; fi # it may have taken it up
    revive "$1" "$2"
    old=${new:-$old}
    if comes "$old" healthy "$old"; then said "$2 serves again"; else said "$2 was started again, and is not healthy yet"; fi
    fail "$service: $image $3, so $2 was started again; its last lines are above" 1
}

settle_in() { # the successor serves: whether it does it well
    comes "$new" healthy "$new" || back "$1" "$2" "does not become healthy ($(state "$new"))"
    if [ -n "$was_ready" ]; then
        comes "$new" hub_ready || back "$1" "$2" "serves, but the hub did not become ready with it"
    fi
    if exists "$1"; then docker rm "$1" >/dev/null; fi
    new='' stopped=''
    said "$image serves instead of $2"
}

replace() { # CONTAINER IMAGE: by another one, without a gap
    start || refuse "cannot be started"
    probe
    stopped=yes
    docker stop "$1" >/dev/null
    settle_in "$1" "$2"
}

step_down() { # CONTAINER IMAGE: an executor whose ledger is newer than its successor knows
    said "the ledger is newer than $image knows: stopping the executor, nothing is approved meanwhile"
    down=$1 stopped=yes
    docker stop "$1" >/dev/null
    "$here/ledger.sh" --by "$2" "$image" || fail "$service: the ledger was not taken down, so $2 was started again" 1
    said "the ledger is as $image knows it"
    docker rm "$1" >/dev/null # compose would start it too
    start || back "$1" "$2" "cannot be started"
    down=''
    settle_in "$1" "$2"
}

image='' service='' timeout=120 settle=6
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --image) value "$@"; image=$2; shift 2 ;;
        --timeout) number "$@"; timeout=$2; shift 2 ;;
        --settle) number "$@"; settle=$2; shift 2 ;;
        -*) fail "there is no option $1; --help shows what there is" ;;
        *) [ -z "$service" ] || fail "one SERVICE, not two: $service and $1"; service=$1; shift ;;
    esac
done
[ -n "$image" ] || fail "which image: --image IMAGE"
[ -n "$service" ] || fail "which service: name one of deploy/compose.yaml"
SECONDS=${HANDOVER_BEGAN:-0} # of the deployment that this is part of

before=$(mktemp)
trap undo EXIT
trap 'exit 130' INT TERM
docker compose rm --force "$service" >/dev/null 2>&1 # what an interrupted run left behind: stopped ones ...
mapfile -t olds < <(running)
if [ -n "$(turn_of)" ]; then # ... and ones that wait for a turn
    for id in "${olds[@]}"; do
        if stands_ready "$id"; then docker rm --force "$id" >/dev/null; said "removed one that was left waiting"; fi
    done
    mapfile -t olds < <(running)
fi
[ "${#olds[@]}" -gt 0 ] || fail "$service: nothing of it runs, so there is nothing to replace: deploy.sh --mode normal" 1
was_ready=''
if hub_ready; then was_ready=yes; fi

for old in "${olds[@]}"; do
    theirs=$(docker inspect --format '{{.Config.Image}}' "$old")
    fits=0
    if [ "$service" = executor ]; then "$here/ledger.sh" --dry-run --by "$theirs" "$image" || fits=$?; fi
    case $fits in
        0) replace "$old" "$theirs" ;;
        3) step_down "$old" "$theirs" ;;
        *) fail "$service: it is not known whether $image can use the ledger, so nothing was replaced" 1 ;;
    esac
done
