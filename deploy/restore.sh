#!/usr/bin/env bash
# Puts a backup of deploy/backup.sh back: `arbhub backup restore`, and its images where asked.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=sourced/place.sh
. "$(dirname "${BASH_SOURCE[0]}")/sourced/place.sh"

usage() {
    cat <<'USAGE'
usage: deploy/restore.sh (--env NAME | --config FILE | --compose) [--images] [--force] FOLDER [-- OPTION...]

Reads all of FOLDER and compares it with its checksums, then puts the ledger and hub.state_dir back where the
configuration says. Stop hub and executor first. A ledger, or a file that differs, is replaced only with --force, and
an executor that still writes to a replaced ledger is fenced off: the new one begins with a new epoch.

  --env NAME     testing, staging or production: configs/NAME.toml with the variables of configs/.env.NAME
  --config FILE  any configuration instead, with the variables that are set here
  --compose      the project of deploy/compose.yaml: its postgres has to run; hub and executor may, with --force: they are
                 stopped, and started again once all is back
  --images       load the backup's images too, by `docker load`
  --force        replace what is there
  -- OPTION...   handed to `arbhub backup restore`: --set KEY=VALUE, --state DIR, --configs DIR, --pg-tools WORDS

The backup's configurations stay in FOLDER/configs unless `-- --configs DIR` says where to put them. ARBHUB names
another arbhub to use.
USAGE
}

# The services of the project that write to what is put back, as far as they run.
writers() {
    docker compose ps --services --status running --status paused --status restarting | grep -x -e hub -e executor || true
}

# The volume gets what is in the scratch folder, from a container like the hub's, so that all belongs to whom it should.
put_state() {
    tar -C "$scratch/state" -cf - . |
        docker run --rm --interactive --network none --volumes-from "$hub" --entrypoint tar \
            "$(docker inspect --format '{{.Image}}' "$hub")" -C "$volume" -xf - --no-overwrite-dir
}

options "$@"
[ -n "$folder" ] || fail "which backup: name its FOLDER"
find_place
if [ -n "$images" ]; then
    engine --images
    [ -f "$folder/more/images/images.tar" ] || fail "$folder has no images: it was made without --images"
    "$arbhub" backup check "$folder"
    docker load --input "$folder/more/images/images.tar"
fi

ran=()
if [ -n "$compose" ]; then
    mapfile -t ran < <(writers)
    if [ "${#ran[@]}" -gt 0 ]; then
        [ -n "$force" ] || fail "${ran[*]} of the project run: --force stops them, replaces what is there, and starts them"
        "$arbhub" backup check "$folder"
        docker compose stop "${ran[@]}"
        trap 'rm -rf "$scratch"; echo "restore.sh: ${ran[*]} stay stopped: docker compose start ${ran[*]}" >&2' EXIT
    fi
    copy_state
fi
"$arbhub" backup restore "$folder" "${place[@]}" ${force:+--force} "${more[@]}"
[ -z "$compose" ] || put_state
if [ "${#ran[@]}" -gt 0 ]; then
    docker compose start "${ran[@]}"
    trap 'rm -rf "$scratch"' EXIT
fi
