#!/usr/bin/env bash
# Puts a backup of deploy/backup.sh back: `arbhub backup restore`, and its images where asked.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
arbhub=${ARBHUB:-$root/.venv/bin/arbhub}

usage() {
    cat <<'USAGE'
usage: deploy/restore.sh (--env NAME | --config FILE) [--images] [--force] FOLDER [-- OPTION...]

Reads all of FOLDER and compares it with its checksums, then puts the ledger and hub.state_dir back where the
configuration says. Stop hub and executor first. A ledger, or a file that differs, is replaced only with --force, and
an executor that still writes to a replaced ledger is fenced off: the new one begins with a new epoch.

  --env NAME     testing, staging or production: configs/NAME.toml with the variables of configs/.env.NAME
  --config FILE  any configuration instead, with the variables that are set here
  --images       load the backup's images too, by `docker load`
  --force        replace what is there
  -- OPTION...   handed to `arbhub backup restore`: --set KEY=VALUE, --state DIR, --configs DIR, --pg-tools WORDS

The backup's configurations stay in FOLDER/configs unless `-- --configs DIR` says where to put them. ARBHUB names
another arbhub to use.
USAGE
}

fail() {
    echo "restore.sh: $1" >&2
    exit 2
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }

name='' config='' images='' folder='' force=()
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --env) value "$@"; name=$2; shift 2 ;;
        --config) value "$@"; config=$2; shift 2 ;;
        --images) images=yes; shift ;;
        --force) force=(--force); shift ;;
        --) shift; break ;;
        -*) fail "there is no option $1; --help shows what there is" ;;
        *) [ -z "$folder" ] || fail "one FOLDER, not two: $folder and $1"; folder=$1; shift ;;
    esac
done
[ -n "$folder" ] || fail "which backup: name its FOLDER"
[ -n "$name$config" ] || fail "where to put it back: --env testing, staging or production, or --config FILE"
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
if [ -n "$images" ]; then
    command -v docker >/dev/null || fail "--images needs docker, which is not installed here"
    docker info >/dev/null 2>&1 || fail "--images needs a Docker engine, and none answers"
    [ -f "$folder/more/images/images.tar" ] || fail "$folder has no images: it was made without --images"
    "$arbhub" backup check "$folder"
    docker load --input "$folder/more/images/images.tar"
fi
"$arbhub" backup restore "$folder" --config "$config" "${force[@]}" "$@"
