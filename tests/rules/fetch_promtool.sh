#!/usr/bin/env bash
# Puts Prometheus's promtool, as Debian packages it, into the file named: fetch_promtool.sh FILE. It needs no root and
# installs nothing.
set -euo pipefail

file=$1

fail() {
  echo "Cannot fetch promtool: $*; install Prometheus and name its promtool with make PROMTOOL=/path/to/promtool" >&2
  exit 2
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
  || fail 'only Debian and its relatives are known here, and this machine has no apt-get and dpkg-deb'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# apt-get as root fetches as a user of its own, who must be able to write here.
chmod 755 "$folder"
cd "$folder"

# Lists of packages of our own where the machine's are not there: only root may renew those.
mkdir -p lists/partial cache/archives/partial
own=(-o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache")
download() { apt-get -qq "$@" -o APT::Sandbox::User= -o Acquire::Retries=3 download prometheus 2>>errors; }
download || { apt-get -qq "${own[@]}" -o APT::Sandbox::User= update 2>>errors && download "${own[@]}"; } \
  || fail "apt-get says: $(tail -n 3 errors | tr '\n' ' ')"

dpkg-deb --extract prometheus_*.deb extracted
extracted/usr/bin/promtool --version >/dev/null 2>&1 || fail 'that of the package does not run here'
cd - >/dev/null
mkdir -p "$(dirname "$file")"
# By rename: a fetch that was cut off must not look like a promtool.
cp "$folder/extracted/usr/bin/promtool" "$file.new"
mv "$file.new" "$file"
