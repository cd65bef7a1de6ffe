#!/usr/bin/env bash
# Tests the dashboard in a real browser: starts the demo, runs the tests of `tools/e2e/web/tests` in Chromium, and stops it.
# Uses the shop's well-known ports and a temporary data folder; takes about three minutes once built.
# Installs missing programs: Node and Chromium by apt, the packages of `tools/e2e/web/package-lock.json` by npm.
#   tools/e2e/web.sh            the tests
#   tools/e2e/web.sh --types    only the checks without a browser: format and types of the modules, and the origin of vendored files
#   tools/e2e/web.sh --screens  takes the screenshots of `docs/web` again
set -euo pipefail
cd "$(dirname "$0")/../.."

. tools/e2e/shop.sh

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$chromium" ] && [ "${1:-}" != --types ]; then missing+=(chromium); fi
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || fail "please install ${missing[*]}"
  apt-get update -q
  apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
export CHROMIUM=${chromium:-$(command -v chromium || true)}

if ! cmp -s tools/e2e/web/package-lock.json tools/e2e/web/node_modules/.installed; then
  npm --prefix tools/e2e/web ci --no-audit --no-fund --loglevel=error
  cp tools/e2e/web/package-lock.json tools/e2e/web/node_modules/.installed
fi
if [ "${1:-}" = --types ]; then
  npm --prefix tools/e2e/web run -s format
  npm --prefix tools/e2e/web run -s types
  npm --prefix tools/e2e/web run -s vendor
  exit
fi

cargo build -q
open_shop
if [ "${1:-}" = --screens ]; then
  npm --prefix tools/e2e/web run -s screens
else
  npm --prefix tools/e2e/web run -s test
fi

close_shop
