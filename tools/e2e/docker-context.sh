#!/usr/bin/env bash
# Checks what `docker build` sends and reduces, without Docker: every target of the reduced manifests has a file, and every
# file that a source includes is in the context.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The context: tracked and new files without those of .dockerignore, whose patterns are those of git here.
git ls-files --cached --others --exclude-standard >"$work/all"
grep -v '^#' .dockerignore >"$work/ignored"
git -c core.excludesFile="$work/ignored" ls-files --cached --ignored --exclude-from="$work/ignored" | sort -u >"$work/left-out"
sort -u "$work/all" | comm -23 - "$work/left-out" >"$work/files"
mkdir "$work/context"
tar -cf - -T "$work/files" | tar -xf - -C "$work/context"

# The targets of a workspace that Cargo must find: all but tests and benchmarks.
targets() {
  (cd "$1" && cargo metadata --locked --format-version 1 --no-deps) | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if not {"test", "bench"} & set(target["kind"]):
            print(package["name"], target["kind"], target["name"])' | sort
}

cd "$work/context"
missing=0
while IFS=: read -r file included; do
  if [ ! -e "$(dirname "$file")/$included" ]; then
    echo "$file includes $included, which .dockerignore leaves out" >&2
    missing=1
  fi
done < <(grep -roE 'include_(str|bytes)!\("[^"]+"\)' --include='*.rs' . | grep '/src/' | sed -E 's/include_(str|bytes)!\("([^"]+)"\)/\2/')
[ "$missing" = 0 ]

reduce=$(awk '/^RUN find/ { on = 1 } on { print } on && !/\\$/ { exit }' "$OLDPWD/Dockerfile")
bash -ec "${reduce#RUN }"
diff <(targets "$OLDPWD") <(targets .) || {
  echo 'the reduction in the Dockerfile deletes targets' >&2
  exit 1
}
echo 'ok: the context and the reduced manifests are complete'
