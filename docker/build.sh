#!/usr/bin/env bash
# Builds the images one after another, then prints how large they are and how long each took.
# usage: docker/build.sh NAME...; in the environment TAG, IMAGE_BUILD (the command that builds, as `podman build`) and
# EXTRAS (of the predictor, see docker/Dockerfile)
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${TAG:-dev}
read -ra build <<<"${IMAGE_BUILD:-docker build}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

die() { echo "Cannot build images: $*" >&2; exit 2; }

member() { # the workspace member behind an image's name
  case $1 in
    operator) echo seamark-kubernetes ;;
    *) echo "seamark-$1" ;;
  esac
}

build() { # build NAME ARGUMENT...: one image; its output is shown only if it fails
  local name=$1
  shift
  "${build[@]}" -f docker/Dockerfile -t "seamark/$name:$tag" --build-arg "VERSION=$tag" \
    --build-arg "REVISION=$revision" "$@" . >"$log" 2>&1 || { cat "$log" >&2; die "seamark/$name:$tag failed, see above"; }
}

size() { # its size in MB, or nothing where the builder's store cannot be asked
  case ${build[0]} in
    docker | podman) "${build[0]}" image inspect -f '{{.Size}}' "$1" | awk '{ printf "%.0f", $1 / 1e6 }' ;;
    *) buildah images --format '{{.Size}}' "$1" 2>/dev/null |
      awk '{ factor["KB"] = 1e-3; factor["MB"] = 1; factor["GB"] = 1e3; printf "%.0f", $1 * factor[$2]; exit }' ;;
  esac
}

if [ "${build[0]}" = docker ] && ! docker info >/dev/null 2>&1; then
  die 'no Docker answers here; start it, or name another builder: make images IMAGE_BUILD="podman build"'
fi
revision=$(git rev-parse HEAD 2>/dev/null || true)
began=$SECONDS
build base --target base
base=$(size "seamark/base:$tag" || true)
printf '%-26s %9s %9s %7s\n' image total 'own part' time
for name in "$@"; do
  start=$SECONDS
  options=(--build-arg "MEMBER=$(member "$name")")
  if [ "$name" = predictor ] && [ -n "${EXTRAS:-}" ]; then options+=(--build-arg "EXTRAS=$EXTRAS"); fi
  build "$name" "${options[@]}"
  total=$(size "seamark/$name:$tag" || true)
  printf '%-26s %6s MB %6s MB %5s s\n' "seamark/$name:$tag" "${total:-?}" \
    "$([ -n "$total" ] && [ -n "$base" ] && echo $((total - base)) || echo '?')" $((SECONDS - start))
done
printf '%-26s %27s s\n' "base ${base:-?} MB, all" $((SECONDS - began))
