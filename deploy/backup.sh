#!/usr/bin/env bash
# A folder with all that a machine would be missed for: `arbhub backup create`, and the images it runs where asked.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=sourced/place.sh
. "$(dirname "${BASH_SOURCE[0]}")/sourced/place.sh"

usage() {
    cat <<'USAGE'
usage: deploy/backup.sh (--env NAME | --config FILE | --compose) [--images] [FOLDER] [-- OPTION...]

Copies the ledger, hub.state_dir and the configuration to FOLDER (backups/ENVIRONMENT-TIME unless named), with a
manifest and checksums. The services may go on meanwhile: a copy is one state of the ledger. Nothing is overwritten.

  --env NAME     testing, staging or production: configs/NAME.toml with the variables of configs/.env.NAME
  --config FILE  any configuration instead, with the variables that are set here
  --compose      the project of deploy/compose.yaml: pg_dump in its postgres, the hub's state out of its volume, and the
                 hub's own configuration and variables unless --env or --config names others
  --images       the images of deploy/compose.yaml too, by `docker save` (COMPOSE_FILE names another file)
  -- OPTION...   handed to `arbhub backup create`: --set KEY=VALUE, --also PATH, --state DIR, --pg-tools WORDS

SQLite paths and hub.state_dir count from where this is run, as they do for the services. deploy/restore.sh puts a
backup back; `arbhub backup check FOLDER` compares it with its checksums. ARBHUB names another arbhub to use.
USAGE
}

options "$@"
find_place
[ -z "$compose" ] || copy_state
folder=${folder:-backups/$(basename "$config" .toml)-$(date -u +%Y%m%dT%H%M%SZ)}

also=()
if [ -n "$images" ]; then
    engine --images
    mkdir "$scratch/images"
    mapfile -t found < <(docker compose config --images | sort -u)
    [ "${#found[@]}" -gt 0 ] || fail "$COMPOSE_FILE names no images"
    docker save --output "$scratch/images/images.tar" "${found[@]}"
    printf '%s\n' "${found[@]}" >"$scratch/images/images.txt"
    also=(--also "$scratch/images")
fi
"$arbhub" backup create "$folder" "${place[@]}" "${also[@]}" "${more[@]}"
