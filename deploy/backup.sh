#!/usr/bin/env bash
# A folder with all that a machine would be missed for: `arbhub backup create`, and the images it runs where asked.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
arbhub=${ARBHUB:-$root/.venv/bin/arbhub}
compose=${COMPOSE_FILE:-$here/compose.yaml}

usage() {
    cat <<'USAGE'
usage: deploy/backup.sh (--env NAME | --config FILE) [--images] [FOLDER] [-- OPTION...]

Copies the ledger, hub.state_dir and the configuration to FOLDER (backups/ENVIRONMENT-TIME unless named), with a
manifest and checksums. The services may go on meanwhile: a copy is one state of the ledger. Nothing is overwritten.

  --env NAME     testing, staging or production: configs/NAME.toml with the variables of configs/.env.NAME
  --config FILE  any configuration instead, with the variables that are set here
  --images       the images of deploy/compose.yaml too, by `docker save` (COMPOSE_FILE names another file)
  -- OPTION...   handed to `arbhub backup create`: --set KEY=VALUE, --also PATH, --state DIR, --pg-tools WORDS

A PostgreSQL in a container is reached without a port of its own:
  deploy/backup.sh --env staging -- --pg-tools 'docker compose -f deploy/compose.yaml exec -T postgres'

SQLite paths and hub.state_dir count from where this is run, as they do for the services. deploy/restore.sh puts a
backup back; `arbhub backup check FOLDER` compares it with its checksums. ARBHUB names another arbhub to use.
USAGE
}

fail() {
    echo "backup.sh: $1" >&2
    exit 2
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }

name='' config='' images='' folder=''
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --env) value "$@"; name=$2; shift 2 ;;
        --config) value "$@"; config=$2; shift 2 ;;
        --images) images=yes; shift ;;
        --) shift; break ;;
        -*) fail "there is no option $1; --help shows what there is" ;;
        *) [ -z "$folder" ] || fail "one FOLDER, not two: $folder and $1"; folder=$1; shift ;;
    esac
done
[ -n "$name$config" ] || fail "what to back up: --env testing, staging or production, or --config FILE"
{ [ -z "$name" ] || [ -z "$config" ]; } || fail "--env or --config, not both"
[ -x "$arbhub" ] || fail "$arbhub is not there: run 'make setup', or name another with ARBHUB="

if [ -n "$name" ]; then
    config=$root/configs/$name.toml
    variables=$root/configs/.env.$name
    { [ -f "$config" ] && [ -f "$variables" ]; } || fail "there is no environment $name: testing, staging or production"
    set -a
    # shellcheck disable=SC1090  # which environment it is, is said on the command line
    . "$variables"
    set +a
fi
folder=${folder:-backups/$(basename "$config" .toml)-$(date -u +%Y%m%dT%H%M%SZ)}

also=()
if [ -n "$images" ]; then
    command -v docker >/dev/null || fail "--images needs docker, which is not installed here"
    docker info >/dev/null 2>&1 || fail "--images needs a Docker engine, and none answers"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir "$scratch/images"
    mapfile -t found < <(docker compose -f "$compose" config --images | sort -u)
    [ "${#found[@]}" -gt 0 ] || fail "$compose names no images"
    docker save --output "$scratch/images/images.tar" "${found[@]}"
    printf '%s\n' "${found[@]}" >"$scratch/images/images.txt"
    also=(--also "$scratch/images")
fi
"$arbhub" backup create "$folder" --config "$config" "${also[@]}" "$@"
