#!/usr/bin/env bash
# Tests the API against its OpenAPI document: schemathesis generates valid and invalid requests from /openapi.json for
# the whole shop. Every response must be documented, and none a server error.
# Uses the shop's well-known ports and a temporary data folder; takes about two minutes once built. Needs Python 3
# with venv: schemathesis is installed into target/schemathesis.
# SEED repeats a run, MAX_TIME bounds it (seconds).
set -euo pipefail
cd "$(dirname "$0")/../.."

version=4.32.5
seed=${SEED:-$RANDOM$RANDOM}
max_time=${MAX_TIME:-110}

. tools/e2e/shop.sh
hint="FAILED: again with SEED=$seed $0"
has_dead_letters() { curl -sS "$gateway/operations/dead-letters" | grep -q '"sequence":2'; }

tools=target/schemathesis/$version
if [ ! -x "$tools/bin/schemathesis" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install -q "schemathesis==$version"
fi

cargo build -q
open_shop

# Two messages that no service can handle, published as the gateway: dead letters to show and to delete.
exec 3<>/dev/tcp/127.0.0.1/4222
printf 'CONNECT {"user":"api-gateway","pass":"api-gateway-dev","verbose":false}\r\n' >&3
printf 'PUB order.command.place.BROKEN_%s 2\r\n{}\r\n' 1 2 >&3
eventually 'there are dead letters' 120 has_dead_letters
exec 3>&-

printf 'seed %s\n' "$seed"
# /events and /overview never end. The gateway's own tests cover the refusal of invalid content: its rules are
# stricter than a schema (check digits, sums, used ids), and some invalid headers are ignored.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,unsupported_method,missing_required_header,use_after_free
run_schemathesis() { # further options ahead of the command
  "$tools/bin/schemathesis" "$@" run "$gateway/openapi.json" --seed "$seed" --max-time "$((max_time / 2))" \
    --checks "$checks" --exclude-path /events --exclude-path /overview --request-timeout 70 --generation-database none --no-color
}
# Once with generated ids, most of which do not exist, and once with existing ids.
run_schemathesis
run_schemathesis --config-file tools/e2e/schemathesis.toml

close_shop
if grep -E 'ERROR|panicked' "$work/log" | grep -v 'order.command.place.BROKEN_'; then
  fail 'the log of the shop has errors'
fi
echo 'ok: every response is documented'
