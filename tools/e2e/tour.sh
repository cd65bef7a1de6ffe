#!/usr/bin/env bash
# Runs docs/tour.md as a check: extracts its commands, runs them against a demo, and compares their output. Then it
# tests cases outside the tour: a second demo, a restart with the same data, and a fresh start. Uses the well-known
# ports and a temporary data folder. DEMO names a program that is already built.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
if [ -z "${DEMO:-}" ]; then
  cargo build -q
  export DEMO=$root/target/debug/demo
fi

. tools/e2e/shop.sh

# In the document `demo` is an alias; here it is the program, and the document's `data/` is the temporary one.
mkdir "$work/bin"
ln -s "$DEMO" "$work/bin/demo"
export PATH=$work/bin:$PATH
cd "$work"

ok() { printf 'ok: %s\n' "$*"; }
stock() { curl -sS "$gateway/products/PRODUCT_001"; }
has_status() { curl -sS "$gateway/orders/$1" | grep -q "\"status\":\"$2\""; }
seeded_stock() { stock | grep -q '"available":5,"reserved":5,'; }

open_shop
seeded_stock || fail "PRODUCT_001 is not 5 available, 5 reserved: $(stock)"
grep -q 'message .*order.event.confirmed.ORDER_001' "$work/log" || fail 'the demo does not show the messages'
has_status ORDER_003 cancelled || fail 'ORDER_003 is not cancelled'
ok 'started and seeded'

if demo --no-open >"$work/second" 2>&1; then fail 'a second demo on the same data started'; fi
grep -q 'a demo runs on .* already' "$work/second" || fail "the second demo prints: $(cat "$work/second")"
if demo --no-open --data "$work/other" >"$work/second" 2>&1; then fail 'a second demo on the same ports started'; fi
grep -q 'port 8900, which api-gateway needs, is taken by demo (process' "$work/second" ||
  fail "a demo with used ports prints: $(cat "$work/second")"
ok 'a second demo names the conflicting process'

python3 "$root/tools/e2e/tour.py" "$root/docs/tour.md"
eventually 'ORDER_004 is cancelled by its deadline' 30 has_status ORDER_004 cancelled
ok 'the tour'

before=$(stock)
close_shop
if curl -s "$gateway/liveness" >/dev/null; then fail 'the gateway outlives the demo'; fi
open_shop
[ "$(stock)" = "$before" ] || fail "the stock was $before and is $(stock) after a restart"
close_shop
open_shop --fresh
seeded_stock || fail '--fresh does not start over'
close_shop
ok 'stopped cleanly, kept its data, started over'
