#!/bin/sh
# Fails where the committed stubs are not what proto/ generates.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
fresh=$(mktemp -d "$root/.stubs.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/arbhub/v1"
sh "$root/proto/generate.sh" "$(basename "$fresh")"
if ! diff -r -x __pycache__ -x __init__.py "$fresh/arbhub/v1" "$root/arbhub/v1"; then
    echo "arbhub/v1 has drifted from proto/: run 'make proto' and commit the result" >&2
    exit 1
fi
