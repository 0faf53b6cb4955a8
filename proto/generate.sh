#!/bin/sh
# Generates the stubs, with types, from proto/ into arbhub/v1 below the folder given.
set -eu
out=$1
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$(cd "$root/$(dirname "${PYTHON:-.venv/bin/python}")" 2>/dev/null && pwd || dirname "$PYTHON")
cd "$root/proto"
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I. \
    --python_out="$root/$out" --grpc_python_out="$root/$out" \
    --mypy_out="quiet:$root/$out" --mypy_grpc_out="quiet:$root/$out" \
    arbhub/v1/*.proto
