#!/usr/bin/env bash
# Takes compose's ledger back to a form that an older release knows: the one case in which a release cannot follow another.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export COMPOSE_FILE=${COMPOSE_FILE:-$here/compose.yaml}

usage() {
    cat <<'USAGE'
usage: deploy/ledger.sh [--dry-run] --by IMAGE FOR

Compares the newest revision of the ledger that image FOR knows with the one that the ledger of deploy/compose.yaml is
at. Where FOR knows less, IMAGE (the release that knows both) takes the ledger down to it: `arbhub ledger migrate`.
Stop the executor first. An older ledger needs nothing: an executor takes it up when it starts.

  --by IMAGE   the image that asks and migrates
  --dry-run    only look: exit code 3 where the ledger would have to be taken down

Exit code: 0 FOR can use the ledger now; 1 it cannot; 2 wrong words; 3 see --dry-run.
USAGE
}

fail() {
    echo "ledger.sh: $1" >&2
    exit "${2:-2}"
}

# IMAGE WORDS...: `arbhub ledger` in an executor's container of its own, which reaches the database and has its password.
ledger() { HUB_IMAGE=$1 docker compose run --rm --no-deps --no-TTY executor ledger "${@:2}" --config /etc/arbhub.toml </dev/null; }

by='' dry='' for=''
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --by) [ "$#" -ge 2 ] || fail "--by needs an IMAGE; --help shows what there is"; by=$2; shift 2 ;;
        --dry-run) dry=yes; shift ;;
        -*) fail "there is no option $1; --help shows what there is" ;;
        *) [ -z "$for" ] || fail "one image, not two: $for and $1"; for=$1; shift ;;
    esac
done
{ [ -n "$by" ] && [ -n "$for" ]; } || fail "which images: --by IMAGE FOR"

head_of() { docker run --rm --network none "$1" ledger head 2>/dev/null; }

known=$(head_of "$for") || fail "$for does not say which ledger it knows (arbhub ledger head): it is too old to follow" 1
if newest=$(head_of "$by"); then
    [[ $newest > $known ]] || exit 0 # then nobody can have taken the ledger beyond it
    at=$(ledger "$by" revision | tail -n 1)
else # older than the question: the other one knows what it is looking at
    at=$(ledger "$for" revision | tail -n 1)
fi
{ [ "$at" != none ] && [[ $at > $known ]]; } || exit 0
[ -z "$dry" ] || exit 3
ledger "$by" migrate --to "$known" || fail "the ledger stays at $at: $by does not take it down to $known, which is all that $for knows" 1
