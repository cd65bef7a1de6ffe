#!/usr/bin/env bash
# Makes a workspace from the template in a temporary folder, builds it, runs its tests, and prints how long that took.
# It shares the build folder of this repository, and so most of the dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if template/new.sh "$work/My Hotel" 2>"$work/refused"; then
  echo 'a name with blanks was not refused' >&2
  exit 1
fi
grep -q 'is not a project name' "$work/refused"

template/new.sh "$work/hotel"
if grep -rn '{{' "$work/hotel" --include='*.toml' --include='*.rs' --include='*.md' --include='*.yaml'; then
  echo 'the workspace has placeholders' >&2
  exit 1
fi
began=$SECONDS
export CARGO_TARGET_DIR=$PWD/target
cd "$work/hotel"
cargo fmt --all --check
cargo test --workspace
echo "the template: built and tested in $((SECONDS - began)) s"
