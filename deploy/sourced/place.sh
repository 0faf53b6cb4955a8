# shellcheck shell=bash
# For backup.sh and restore.sh: their options, and the place these name: the ledger and the hub's state of services on
# this machine, or of a compose project. Either has a `usage`, and uses the variables below.
# shellcheck disable=SC2034  # what is set here is used there
program=$(basename "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
arbhub=${ARBHUB:-$root/.venv/bin/arbhub}
export COMPOSE_FILE=${COMPOSE_FILE:-$root/deploy/compose.yaml}
volume=/var/lib/arbhub # where a container has hub.state_dir
name='' config='' images='' force='' compose='' folder=''
more=()   # options that are handed on
place=()  # those by which arbhub finds the ledger and the state
scratch='' # a folder of ours, gone at the end
hub=''     # its container in the project

fail() {
    echo "$program: $1" >&2
    exit 2
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }

options() { # of the command line
    while [ "$#" -gt 0 ]; do
        case $program,$1 in
            *,--help | *,-h) usage; exit 0 ;;
            *,--env) value "$@"; name=$2; shift 2 ;;
            *,--config) value "$@"; config=$2; shift 2 ;;
            *,--compose) compose=yes; shift ;;
            *,--images) images=yes; shift ;;
            restore.sh,--force) force=yes; shift ;;
            *,--) shift; more=("$@"); break ;;
            *,-*) fail "there is no option $1; --help shows what there is" ;;
            *) [ -z "$folder" ] || fail "one FOLDER, not two: $folder and $1"; folder=$1; shift ;;
        esac
    done
    [ -n "$name$config$compose" ] || fail "which place: --env testing, staging or production, --config FILE, or --compose"
    [ -z "$name" ] || [ -z "$config" ] || fail "--env or --config, not both"
    [ -x "$arbhub" ] || fail "$arbhub is not there: run 'make setup', or name another with ARBHUB="
}

engine() { # or one sentence that says who needs it
    command -v docker >/dev/null || fail "$1 needs docker, which is not installed here"
    docker info >/dev/null 2>&1 || fail "$1 needs a Docker engine, and none answers"
}

find_place() {
    if [ -n "$name" ]; then
        config=$root/configs/$name.toml
        read_variables "$root/configs/.env.$name"
    fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    [ -z "$compose" ] || find_project
    place+=(--config "$config")
}

read_variables() {
    { [ -f "$config" ] && [ -f "$1" ]; } || fail "there is no environment $name: testing, staging or production"
    set -a
    # shellcheck disable=SC1090  # which environment it is, is said on the command line
    . "$1"
    set +a
}

# A project's ledger is reached in its server's container, its state is copied, and its configuration is the hub's own.
find_project() {
    engine --compose
    local found user database
    found=$(docker compose exec -T postgres printenv POSTGRES_USER POSTGRES_DB) ||
        fail "--compose needs the project's postgres, and it does not answer"
    { read -r user; read -r database; } <<<"$found"
    read -r hub < <(docker compose ps --all --quiet hub) || fail "the project never had a hub: docker compose create hub"
    [ -n "$config" ] || hubs_configuration
    place+=(--state "$scratch/state" --pg-tools "docker compose exec -T postgres")
    place+=(--set "executor.ledger_url=postgresql://$user@postgres/$database")
}

hubs_configuration() { # the file and the variables that its container has
    config=$scratch/arbhub.toml
    copied /etc/arbhub.toml "$config"
    local variable
    while IFS= read -r variable; do
        [[ $variable == ARBHUB_* ]] || continue
        export "${variable?}"
        printf '%s=%q\n' "${variable%%=*}" "${variable#*=}" >>"$scratch/.env.arbhub"
    done < <(docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$hub")
}

copied() { # out of the hub's container, which need not run
    docker cp --quiet --follow-link "$hub:$1" "$2" || fail "$1 cannot be copied out of the project's hub"
}

copy_state() {
    mkdir "$scratch/state"
    copied "$volume/." "$scratch/state"
}
