# A shop for the checks beside this file: by the README's own command, on its well-known ports, with a temporary data
# folder. To be sourced at the root of the repository; whatever ends the check ends the shop, and a failure shows its log.
# shellcheck shell=bash
gateway=http://127.0.0.1:8900
work=$(mktemp -d)
store_pid=
# How to start the demo: the README's command, or a program that is already built.
DEMO_COMMAND=(cargo run -q --)
if [ -n "${DEMO:-}" ]; then DEMO_COMMAND=("$DEMO"); fi
# What to say where the check fails, beside the log.
hint=
cleanup() {
  status=$?
  if [ -n "$store_pid" ]; then kill -INT "$store_pid" 2>/dev/null || true; wait "$store_pid" 2>/dev/null || true; fi
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
    [ "$SECONDS" -lt "$end" ] || fail "in vain for $limit s: $what"
    sleep 0.1
  done
}
is_open() {
  kill -0 "$store_pid" 2>/dev/null || fail 'the demo ended before the shop was open'
  grep -qs 'The shop is open' "$work/log"
}
open_store() {
  # Or what the shop before has written would be read.
  rm -f "$work/log"
  "${DEMO_COMMAND[@]}" --data "$work/data" --no-open "$@" >"$work/log" 2>&1 &
  store_pid=$!
  eventually 'the shop is open' 120 is_open
}
close_store() {
  kill -INT "$store_pid"
  wait "$store_pid" || fail "the demo ended with $?"
  store_pid=
}
