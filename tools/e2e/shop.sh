# A demo for the check scripts of this folder: started with the README's command, on its well-known ports, with a
# temporary data folder. To be sourced at the root of the repository. It ends with the check; a failure prints its
# log.
# shellcheck shell=bash
gateway=http://127.0.0.1:8900
work=$(mktemp -d)
shop_pid=
# How to start the demo: the README's command, or a program that is already built.
DEMO_COMMAND=(cargo run -q --)
if [ -n "${DEMO:-}" ]; then DEMO_COMMAND=("$DEMO"); fi
# Printed after the log if the check fails.
hint=
cleanup() {
  status=$?
  if [ -n "$shop_pid" ]; then kill -INT "$shop_pid" 2>/dev/null || true; wait "$shop_pid" 2>/dev/null || true; fi
  if [ "$status" -ne 0 ] && [ -f "$work/log" ]; then tail -n 60 "$work/log" >&2; fi
  if [ "$status" -ne 0 ] && [ -n "$hint" ]; then printf '%s\n' "$hint" >&2; fi
  rm -rf "$work"
}
trap cleanup EXIT
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
eventually() { # what, seconds, command …
  local what=$1 limit=$2; shift 2
  local end=$((SECONDS + limit))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "timed out after $limit s: $what"
    sleep 0.1
  done
}
is_open() {
  kill -0 "$shop_pid" 2>/dev/null || fail 'the demo ended before the shop was open'
  grep -qs 'The shop is open' "$work/log"
}
open_shop() {
  # Otherwise the log of an earlier demo would be read.
  rm -f "$work/log"
  "${DEMO_COMMAND[@]}" --data "$work/data" --no-open "$@" >"$work/log" 2>&1 &
  shop_pid=$!
  eventually 'the shop is open' 120 is_open
}
close_shop() {
  kill -INT "$shop_pid"
  wait "$shop_pid" || fail "the demo ended with $?"
  shop_pid=
}
