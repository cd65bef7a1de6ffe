#!/usr/bin/env bash
# The tour of the README as a check: the program started by the README's own command, used with curl, and broken.
# Uses the store's well-known ports and a temporary data folder; takes about half a minute once built.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
demo_pid=
cleanup() {
  status=$?
  if [ -n "$demo_pid" ]; then kill -INT "$demo_pid" 2>/dev/null || true; wait "$demo_pid" 2>/dev/null || true; fi
  if [ "$status" -ne 0 ] && [ -f "$work/log" ]; then tail -n 60 "$work/log"; fi
  rm -rf "$work"
}
trap cleanup EXIT

gateway=http://127.0.0.1:8900
say() { printf 'ok: %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
eventually() { # what, seconds, command …
  local what=$1 limit=$2; shift 2
  local end=$((SECONDS + limit))
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "in vain for $limit s: $what"
    sleep 0.1
  done
}
order() { # id, pieces, further curl options …
  local id=$1 pieces=$2; shift 2
  curl -sS "$@" -w ' HTTP %{http_code}' --json "{\"orderId\":\"$id\",\"customerId\":\"CUSTOMER_001\",\"currency\":\"EUR\",\"items\":[{\"productId\":\"PRODUCT_001\",\"quantity\":$pieces,\"unitPrice\":1000}]}" "$gateway/orders"
}
has_status() { curl -sS "$gateway/orders/$1" | grep -q "\"status\":\"$2\""; }
has_stock() { curl -sS "$gateway/products/$1" | grep -q "\"available\":$2,\"reserved\":$3,\"awaiting\":$4"; }
demo() { cargo run -q -- --data "$work/data" "$@"; }
is_open() {
  kill -0 "$demo_pid" 2>/dev/null || fail 'the demo ended before the store was open'
  grep -q 'The store is open' "$work/log"
}
open_store() {
  cargo run -q -- --data "$work/data" "$@" >"$work/log" 2>&1 &
  demo_pid=$!
  eventually 'the store is open' 120 is_open
}
close_store() {
  kill -INT "$demo_pid"
  wait "$demo_pid" || fail "the demo ended with $?"
  demo_pid=
}

cargo build -q
open_store
has_status ORDER_001 confirmed || fail 'ORDER_001 is not confirmed'
has_status ORDER_002 confirmed || fail 'ORDER_002 is not confirmed'
has_stock PRODUCT_001 5 5 0 || fail 'PRODUCT_001 is not 5 available, 5 reserved'
has_stock PRODUCT_002 13 2 0 || fail 'PRODUCT_002 is not 13 available, 2 reserved'
grep -q 'message .*order.event.confirmed.ORDER_001' "$work/log" || fail 'the messages are not shown'
say 'started, seeded, both orders confirmed'

if demo >"$work/second" 2>&1; then fail 'a second demo on the same data started'; fi
grep -q 'a demo runs on .* already' "$work/second" || fail "a second demo says: $(cat "$work/second")"
if cargo run -q -- --data "$work/other" >"$work/second" 2>&1; then fail 'a second demo on the same ports started'; fi
grep -q 'port 8900, which api-gateway needs, is taken by demo (process' "$work/second" ||
  fail "a demo with taken ports says: $(cat "$work/second")"
say 'a second demo says who is in the way'

[[ $(order ORDER_003 1 -H 'Prefer: wait=10') == *'"status":"confirmed"'*'HTTP 200' ]] || fail 'ORDER_003'
[[ $(order ORDER_003 1) == *'HTTP 202' ]] || fail 'ORDER_003 placed again'
[[ $(order ORDER_003 2 -H 'Prefer: wait=10') == *'HTTP 422' ]] || fail 'ORDER_003 with other content'
[[ $(order ORDER_004 -1) == *'/items/0/quantity'*'HTTP 422' ]] || fail 'a negative quantity'
say 'placed, placed again, refused with other content, refused when broken'

[[ $(demo kill inventory-service) == *'killed inventory-service'* ]] || fail 'kill'
[[ $(demo status) == *inventory-service*'not running'* ]] || fail 'status'
[[ $(order ORDER_005 1) == *'HTTP 202' ]] || fail 'ORDER_005 without inventory'
eventually 'ORDER_005 is placed' 10 has_status ORDER_005 placed
demo start inventory-service >/dev/null
eventually 'ORDER_005 is confirmed' 20 has_status ORDER_005 confirmed
say 'an order waited for an inventory that was away'

demo kill nats-server >/dev/null
[[ $(order ORDER_006 1 -D -) == *[Rr]etry-[Aa]fter*'HTTP 503' ]] || fail 'no 503 without nats-server'
demo start nats-server >/dev/null
accepted() { [[ $(order ORDER_006 1) == *'HTTP 202' ]]; }
eventually 'ORDER_006 is accepted' 20 accepted
eventually 'ORDER_006 is confirmed' 20 has_status ORDER_006 confirmed
say 'without nats-server 503, and the same request works afterwards'

[[ $(order ORDER_007 10) == *'HTTP 202' ]] || fail 'ORDER_007'
eventually 'ORDER_007 waits' 10 has_status ORDER_007 awaiting-stock
curl -sS --json '{"quantity":8}' "$gateway/products/PRODUCT_001/restock" >/dev/null
eventually 'ORDER_007 is confirmed' 10 has_status ORDER_007 confirmed
say 'an order over the stock waited for a restock'

close_store
if curl -s "$gateway/liveness" >/dev/null; then fail 'the gateway outlives the demo'; fi
open_store
has_stock PRODUCT_001 0 18 0 || fail "the data is not found again: $(curl -sS "$gateway/products/PRODUCT_001")"
close_store
open_store --fresh
has_stock PRODUCT_001 5 5 0 || fail '--fresh does not start over'
close_store
say 'stopped cleanly, found its data again, started over'
