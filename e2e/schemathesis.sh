#!/usr/bin/env bash
# The API against its own document: the whole store, and requests that schemathesis makes up from /openapi.json, good
# ones and bad ones. Every answer must be one that the document has, and none a server error.
# Uses the shop's well-known ports and a temporary data folder; takes about two minutes once built. Needs Python 3
# with venv: schemathesis is installed into target/schemathesis.
# SEED repeats a run, MAX_TIME bounds it (seconds).
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
seed=${SEED:-$RANDOM$RANDOM}
max_time=${MAX_TIME:-110}

. e2e/shop.sh
hint="FAILED: again with SEED=$seed $0"
has_dead_letters() { curl -sS "$gateway/operations/dead-letters" | grep -q '"sequence":2'; }

tools=target/schemathesis/$version
if [ ! -x "$tools/bin/schemathesis" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install -q "schemathesis==$version"
fi

cargo build -q
open_store

# Two messages that no service can handle, as the gateway would send them: dead letters to be shown and discarded.
exec 3<>/dev/tcp/127.0.0.1/4222
printf 'CONNECT {"user":"api-gateway","pass":"api-gateway-dev","verbose":false}\r\n' >&3
printf 'PUB order.command.place.BROKEN_%s 2\r\n{}\r\n' 1 2 >&3
eventually 'there are dead letters' 120 has_dead_letters
exec 3>&-

printf 'seed %s\n' "$seed"
# /events and /overview never end. That bad content is refused is left to the gateway's own tests: its rules say more than a schema
# can (check digits, sums, ids that are taken), and some headers that are not right are passed over.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,unsupported_method,missing_required_header,use_after_free
hold_to_document() { # further options ahead of the command
  "$tools/bin/schemathesis" "$@" run "$gateway/openapi.json" --seed "$seed" --max-time "$((max_time / 2))" \
    --checks "$checks" --exclude-path /events --exclude-path /overview --request-timeout 70 --generation-database none --no-color
}
# Once with ids that are made up, most of which nobody has, and once with ids that the shop knows.
hold_to_document
hold_to_document --config-file e2e/schemathesis.toml

close_store
if grep -E 'ERROR|panicked' "$work/log" | grep -v 'order.command.place.BROKEN_'; then
  fail 'the log of the shop has errors'
fi
echo 'ok: every answer is one that the document has'
