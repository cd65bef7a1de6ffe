#!/usr/bin/env bash
# The page under a real browser: the demo is started, the tests of `e2e/web/tests` use it through Chromium, and it is
# stopped. Uses the store's well-known ports and a temporary data folder; takes about a minute once built.
# Installs what is missing: Node and Chromium by apt, the packages of `e2e/web/package-lock.json` by npm.
#   e2e/web.sh            the tests
#   e2e/web.sh --types    only what needs no browser: form and types of the modules, and where vendored files come from
#   e2e/web.sh --screens  takes the pictures of `docs/web` anew
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
demo_pid=
cleanup() {
  status=$?
  if [ -n "$demo_pid" ]; then kill -INT "$demo_pid" 2>/dev/null || true; wait "$demo_pid" 2>/dev/null || true; fi
  if [ "$status" -ne 0 ] && [ -f "$work/log" ]; then grep -E 'WARN|ERROR|panicked|^demo ' "$work/log" | tail -n 40 || true; fi
  rm -rf "$work"
}
trap cleanup EXIT
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

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

if ! cmp -s e2e/web/package-lock.json e2e/web/node_modules/.installed; then
  npm --prefix e2e/web ci --no-audit --no-fund --loglevel=error
  cp e2e/web/package-lock.json e2e/web/node_modules/.installed
fi
if [ "${1:-}" = --types ]; then
  npm --prefix e2e/web run -s format
  npm --prefix e2e/web run -s types
  npm --prefix e2e/web run -s vendor
  exit
fi

cargo build -q
cargo run -q -- --data "$work/data" --no-open >"$work/log" 2>&1 &
demo_pid=$!
end=$((SECONDS + 120))
until grep -qs 'The store is open' "$work/log"; do
  kill -0 "$demo_pid" 2>/dev/null || fail 'the demo ended before the store was open'
  [ "$SECONDS" -lt "$end" ] || fail 'the store did not open'
  sleep 0.2
done

if [ "${1:-}" = --screens ]; then
  npm --prefix e2e/web run -s screens
else
  npm --prefix e2e/web run -s test
fi

kill -INT "$demo_pid"
wait "$demo_pid" || fail "the demo ended with $?"
demo_pid=
