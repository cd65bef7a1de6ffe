#!/usr/bin/env bash
# Makes a workspace of your own from this template: new.sh FOLDER. The folder's name becomes the name of the project.
# `cargo generate --path template` does the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: new.sh FOLDER}
name=$(basename "$folder")
if ! [[ $name =~ ^[a-z][a-z0-9-]*$ ]]; then
  echo "$name is not a project name: use lower-case letters, digits, and '-', and begin with a letter" >&2
  exit 2
fi
if [ -e "$folder" ]; then
  echo "$folder exists already" >&2
  exit 2
fi
cp -R "$here" "$folder"
rm "$folder/new.sh" "$folder/cargo-generate.toml"
cp "$here/../Cargo.lock" "$folder/Cargo.lock" # the versions that the library is tested with
find "$folder" -type f ! -name Cargo.lock -exec sed -i \
  -e "s|{{project-name}}|$name|g" -e "s|{{choreography}}|$(dirname "$here")|g" {} +
echo "created $folder: see its README.md"
