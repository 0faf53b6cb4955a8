#!/usr/bin/env bash
# Brings a release to an environment of deploy/compose.yaml, tried before it gets anything to do, and takes it back
# where it fails. One service's handing over is deploy/handover.sh's.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
state=${DEPLOY_STATE:-$root/.deployed}
backup=${BACKUP:-$here/backup.sh}
export COMPOSE_FILE=${COMPOSE_FILE:-$here/compose.yaml}
order=(engine-spread engine-fee engine-liquidity engine-risk executor hub feed)

usage() {
    cat <<'USAGE'
usage: deploy/deploy.sh --env E --mode M --version V [--only SERVICE]... [--timeout S] [--settle S] [--dry-run]

  --env E         compose (the sandbox), testing, staging, production: configs/E.toml with configs/.env.E
  --mode M        normal   everything as compose.yaml says, at once; back to the version before where it fails
                  rolling  one service after the other without a gap, each probed before it gets traffic; what was
                           replaced is put back where one fails. The ledger is backed up before the executor's turn
                  hotfix   rolling, of the services that --only names, without the backup
                  dev      the source as it stands here, mounted, in the foreground; compose and testing only
  --version V     an image arbhub:V, or a tag or commit of this repository to build it from (never what is not
                  committed), or `previous`: the one before the current one
  --only SERVICE  that service alone; more than once for several
  --timeout S     how long a step may take until it counts as failed       (120)
  --settle S      how long hubs have to find a new stateless engine        (6)
  --dry-run       check everything, say what would be done, do nothing

Exit code: 0 done; 1 failed, and what served before serves; 2 refused, and nothing was touched; 130 interrupted: what
serves goes on, some of it of the new version. What was deployed is in .deployed/E (DEPLOY_STATE names another folder).
COMPOSE_FILE and COMPOSE_PROJECT_NAME are heeded; PIP_CONF is for builds behind a package mirror; BACKUP names another
program for deploy/backup.sh.
USAGE
}

fail() {
    echo "deploy.sh: $1" >&2
    exit "${2:-2}"
}

step() { printf '%4d s  %s\n' "$SECONDS" "$1"; }
value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }
number() {
    value "$@"
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1 should be a whole number of seconds, not $2"
}
is_here() { docker image inspect "$1" >/dev/null 2>&1; }
image_of() { case $1 in *:*) echo "$1" ;; *) echo "arbhub:$1" ;; esac; }
running_image() { # of a service; nothing where none runs
    local id
    id=$(docker compose ps --quiet "$1" | head -n 1)
    [ -z "$id" ] || docker inspect --format '{{.Config.Image}}' "$id"
}

# ---- which release

previous() { # the latest version in the history that is not the current one
    awk '{ version[NR] = $3 } END { for (i = NR - 1; i > 0; i--) if (version[i] != version[NR]) { print version[i]; exit } }' \
        "$history"
}

found_running() { # a history begins with what was there
    local image
    image=$(running_image hub)
    if [ ! -s "$history" ] && [ -n "$image" ]; then remember found "${image#arbhub:}"; fi
}
remember() { printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" >>"$history"; }

build() { # VERSION COMMIT: an image of what is committed there, and nothing else
    if [ -n "$dry" ]; then step "would build arbhub:$1 from commit $2"; return; fi
    step "building arbhub:$1 from commit $2"
    source_of=$(mktemp -d)
    trap 'rm -rf "$source_of"' EXIT
    git -C "$root" archive "$2" | tar -x -C "$source_of"
    docker build --quiet --file "$source_of/deploy/Dockerfile" --target runtime --tag "arbhub:$1" \
        --label "org.opencontainers.image.revision=$2" --secret "id=pip,src=${PIP_CONF:-$source_of/deploy/pip.conf}" \
        "$source_of" >/dev/null || fail "arbhub:$1 cannot be built from commit $2: what docker said is above"
}

find_release() { # sets $version and $image
    local commit
    if [ "$version" = previous ]; then
        version=$([ ! -s "$history" ] || previous)
        [ -n "$version" ] || fail "there is no version before the current one in $history"
        is_here "$(image_of "$version")" || fail "the version before is $version, and its image is here no more: name the version"
    else
        [[ $version =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
            fail "--version should be the tag of an image arbhub:V, or a tag or commit, in letters, digits, _ . -, not $version"
        if ! is_here "arbhub:$version"; then
            commit=$(git -C "$root" rev-parse --verify --quiet "$version^{commit}") ||
                fail "there is neither an image arbhub:$version nor a tag or commit $version in this repository to build it from"
            git -C "$root" rev-parse --verify --quiet "refs/tags/$version" >/dev/null || version=${commit:0:12} # a branch moves
            is_here "arbhub:$version" || build "$version" "$commit"
        fi
    fi
    image=$(image_of "$version")
}

try_out() { # whether the release starts with the configuration, in a container that reaches nobody
    local id until=$((SECONDS + timeout)) words
    if ! is_here "$image"; then return; fi # a dry run has built nothing
    id=$(docker run --detach --network none --read-only --tmpfs /tmp --cap-drop ALL --volume "$config:/etc/arbhub.toml:ro" \
        --env ARBHUB_ENGINES__FEE__PLACE=127.0.0.1:7403 "$image" engine fee --config /etc/arbhub.toml) ||
        fail "$image cannot be started"
    until docker exec "$id" probe 127.0.0.1:7403 >/dev/null 2>&1; do
        if [ "$(docker inspect --format '{{.State.Status}}' "$id")" != running ] || [ "$SECONDS" -ge "$until" ]; then
            words=$(docker logs --tail 1 "$id" 2>&1)
            docker rm --force "$id" >/dev/null
            fail "$image does not start with ${config#"$root"/}, so nothing was touched: ${words:-it says nothing}"
        fi
        sleep 0.5
    done
    docker rm --force "$id" >/dev/null
    step "$image starts with ${config#"$root"/}"
}

same_environment() { # as what runs: two of them never share a ledger
    local id runs
    for id in $(docker compose ps --quiet); do
        runs=$(docker inspect --format '{{index .Config.Labels "arbhub.environment"}}' "$id")
        { [ -z "$runs" ] || [ "$runs" = "$env" ]; } ||
            fail "what runs here is $runs, not $env: take it down first (docker compose down), or set COMPOSE_PROJECT_NAME"
    done
}

# ---- how it gets there

back_up() {
    local folder
    folder=$state/backups/$env-$(date -u +%Y%m%dT%H%M%SZ)
    "$backup" --compose "$folder" >/dev/null || return 1
    step "executor: the ledger is backed up in $folder"
}

hand_over() { # SERVICE IMAGE
    HANDOVER_BEGAN=$SECONDS "$here/handover.sh" --timeout "$timeout" --settle "$settle" --image "$2" "$1"
}

replaced=() theirs=() # services that run the new release already, and what they ran before
put_back() {
    local i
    for ((i = ${#replaced[@]} - 1; i >= 0; i--)); do
        step "${replaced[i]}: back to ${theirs[i]}"
        hand_over "${replaced[i]}" "${theirs[i]}" || step "${replaced[i]}: COULD NOT be put back, it runs $image: look at it"
    done
}

roll() {
    local service before
    for service in "${services[@]}"; do
        before=$(running_image "$service")
        [ -n "$before" ] || fail "$service does not run, so there is nothing to replace: --mode normal starts everything"
    done
    for service in "${services[@]}"; do
        before=$(running_image "$service")
        if [ -n "$dry" ]; then step "would replace $service, which runs $before, by $image"; continue; fi
        if [ "$service" = executor ] && [ "$mode" = rolling ] && ! back_up; then
            put_back
            fail "the ledger cannot be backed up, so the executor was left alone and the version before serves" 1
        fi
        if ! hand_over "$service" "$image"; then
            put_back
            fail "$service could not be replaced by $image, and what served before serves: the reason is above" 1
        fi
        replaced+=("$service") theirs+=("$before")
    done
}

sick() { # which services are not well, each with its state
    docker compose ps --all --format '{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}' "$@" |
        awk '!($2 == "running" && ($4 == "healthy" || $4 == "")) && !($1 == "secrets" && $2 == "exited" && $3 == 0) {
                 printf "%s%s (%s)", sep, $1, ($4 != "" ? $4 : $2); sep = ", " }'
}

start_all() { # IMAGE: 0 when everything is well
    local by until found
    by=$(running_image executor)
    if [ -n "$by" ] && [ "$by" != "$1" ]; then fit_ledger "$by" "$1" || return 1; fi
    HUB_IMAGE=$1 docker compose --progress quiet up --detach --quiet-pull "${only[@]}" >/dev/null || return 1
    until=$((SECONDS + timeout))
    while found=$(sick "${only[@]}"); [ -n "$found" ]; do
        if [ "$SECONDS" -ge "$until" ]; then step "not well after $timeout s: $found"; return 1; fi
        sleep 1
    done
}

fit_ledger() { # FROM TO: an executor whose ledger is newer than the release to come knows is stopped first
    local fits=0
    "$here/ledger.sh" --dry-run --by "$1" "$2" || fits=$?
    if [ "$fits" -eq 3 ]; then
        step "the ledger is newer than $2 knows: stopping the executor, nothing is approved meanwhile"
        docker compose stop executor >/dev/null 2>&1
        fits=0
        "$here/ledger.sh" --by "$1" "$2" || fits=$?
        [ "$fits" -eq 0 ] || docker compose start executor >/dev/null 2>&1
    fi
    return "$fits"
}

normal() {
    local before
    before=$(running_image hub)
    if [ -n "$dry" ]; then step "would start everything with $image${before:+ instead of $before}"; return; fi
    if [ -n "$(running_image executor)" ]; then
        back_up || fail "the ledger cannot be backed up, so nothing was touched" 1
    fi
    step "starting everything with $image${before:+ instead of $before}"
    if start_all "$image"; then return; fi
    docker compose logs --no-color --tail 3 "${only[@]}" >&2 || true
    [ -n "$before" ] || fail "$image does not get well, and nothing ran before to go back to: its last lines are above" 1
    step "back to $before"
    start_all "$before" || fail "neither $image nor $before, which ran before, gets well: look at it" 1
    fail "$image does not get well, so $before runs again: its last lines are above" 1
}

develop() {
    step "running the source of $root, until Ctrl-C"
    if [ -n "$dry" ]; then exit 0; fi
    COMPOSE_FILE=$COMPOSE_FILE:$here/compose.development.yaml exec docker compose up --build "${only[@]}"
}

# ---- what is wanted

env='' mode='' version='' only=() timeout=120 settle=6 dry=''
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --env) value "$@"; env=$2; shift 2 ;;
        --mode) value "$@"; mode=$2; shift 2 ;;
        --version) value "$@"; version=$2; shift 2 ;;
        --only) value "$@"; only+=("$2"); shift 2 ;;
        --timeout) number "$@"; timeout=$2; shift 2 ;;
        --settle) number "$@"; settle=$2; shift 2 ;;
        --dry-run) dry=yes; shift ;;
        *) fail "there is no option $1; --help shows what there is" ;;
    esac
done
case $env in
    compose | testing | staging | production) ;;
    *) fail "--env should be compose, testing, staging or production, not ${env:-nothing}" ;;
esac
case $mode in
    normal | rolling | hotfix) [ -n "$version" ] || fail "which version: --version V, or --version previous" ;;
    dev) case $env in compose | testing) ;; *) fail "--mode dev is for compose and testing, not for $env" ;; esac ;;
    *) fail "--mode should be normal, rolling, dev or hotfix, not ${mode:-nothing}" ;;
esac
[ "$mode" != hotfix ] || [ "${#only[@]}" -gt 0 ] || fail "--mode hotfix needs --only SERVICE: what is to be replaced"
services=()
for service in "${order[@]}"; do # in this order, however they were named
    if [ "${#only[@]}" -eq 0 ] || [[ " ${only[*]} " == *" $service "* ]]; then services+=("$service"); fi
done
case $mode in rolling | hotfix)
    for service in "${only[@]}"; do
        [[ " ${order[*]} " == *" $service "* ]] || fail "--only should be one of ${order[*]}, not $service"
    done ;;
esac
command -v docker >/dev/null || fail "docker is not installed here"
docker info >/dev/null 2>&1 || fail "no Docker engine answers: start it, or set DOCKER_HOST"
docker compose version >/dev/null 2>&1 || fail "docker has no compose: install its plugin, 2.24 or newer"

unset DEPLOY_ENVIRONMENT DEPLOY_VERSION DEPLOY_CONFIG DEPLOY_SANDBOXES # what a shell has would go before the file
export COMPOSE_ENV_FILES=$root/configs/.env.$env
config=$root/$(sed -n 's/^DEPLOY_CONFIG=//p' "$COMPOSE_ENV_FILES")
mkdir -p "$state"
exec 9>"$state/lock"
flock --nonblock 9 || fail "another deployment is under way here: wait for it"
trap 'step "interrupted: what serves goes on${replaced[*]:+; $image serves as ${replaced[*]}}"; exit 130' INT TERM
history=$state/$env
same_environment
if [ "$mode" = dev ]; then develop; fi
found_running
find_release
try_out
case $mode in normal) normal ;; *) roll ;; esac
[ -z "$dry" ] || exit 0
remember "$mode" "${version}"
step "$env runs $image${only[*]:+ as ${only[*]}} ($mode)"
