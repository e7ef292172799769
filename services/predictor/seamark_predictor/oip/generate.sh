#!/usr/bin/env bash
# Makes *_pb2.py and *_pb2.pyi from the .proto files: `generate.sh [UV]`. Needs uv and a package index.
#
# The compiler's version decides the oldest protobuf that can import the result: this one makes code for 6.30 and later.
# The first line of each module holds the digest of its .proto file, which a test compares. The linters leave them alone.
set -euo pipefail
uv=$(realpath "$(command -v "${1:-uv}")")
cd "$(dirname "$0")/../.."
protos=(seamark_predictor/oip/open_inference.proto seamark_predictor/oip/health.proto)
"$uv" run --quiet --no-project --with 'grpcio-tools==1.72.2' \
  python -W ignore -m grpc_tools.protoc -I . --python_out=. --pyi_out=. "${protos[@]}"
for proto in "${protos[@]}"; do
  digest=$(sha256sum "$proto" | cut -d ' ' -f 1)
  for made in "${proto%.proto}"_pb2.py{,i}; do
    {
      echo "# Made by generate.sh from ${proto##*/}: $digest"
      echo '# ruff: noqa'
      echo '# fmt: off'
      [[ $made == *.py ]] || echo '# mypy: disable-error-code="type-arg, misc, metaclass"'
      cat "$made"
    } >"$made.new"
    mv "$made.new" "$made"
  done
done
