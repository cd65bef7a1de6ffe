#!/usr/bin/env bash
# The tour of the README as a check: the program started by the README's own command, used with curl, and broken.
# Uses the store's well-known ports and a temporary data folder; takes about a minute once built.
set -euo pipefail
cd "$(dirname "$0")/.."

. e2e/store.sh

customer=CUSTOMER_001
say() { printf 'ok: %s\n' "$*"; }
order() { # id, pieces, further curl options …
  local id=$1 pieces=$2; shift 2
  curl -sS "$@" -w ' HTTP %{http_code}' --json "{\"orderId\":\"$id\",\"customerId\":\"$customer\",\"currency\":\"EUR\",\"items\":[{\"productId\":\"PRODUCT_001\",\"quantity\":$pieces,\"unitPrice\":1000}]}" "$gateway/orders"
}
has_status() { curl -sS "$gateway/orders/$1" | grep -q "\"status\":\"$2\""; }
has_stock() { curl -sS "$gateway/products/$1" | grep -q "\"available\":$2,\"reserved\":$3,\"awaiting\":$4"; }
demo() { cargo run -q -- --data "$work/data" "$@"; }

cargo build -q
open_store
has_status ORDER_001 confirmed || fail 'ORDER_001 is not confirmed'
has_status ORDER_002 confirmed || fail 'ORDER_002 is not confirmed'
has_stock PRODUCT_001 5 5 0 || fail 'PRODUCT_001 is not 5 available, 5 reserved'
has_stock PRODUCT_002 13 2 0 || fail 'PRODUCT_002 is not 13 available, 2 reserved'
grep -q 'message .*order.event.confirmed.ORDER_001' "$work/log" || fail 'the messages are not shown'
has_status ORDER_003 cancelled || fail 'ORDER_003 is not cancelled'
[[ $(curl -sS "$gateway/orders/ORDER_003/payment") == *'"declined"'*'"limit-exceeded"'* ]] || fail 'the payment of ORDER_003'
say 'started, seeded: two orders confirmed, one declined and its stock back'
eventually 'ORDER_004 is expired' 30 has_status ORDER_004 cancelled
has_stock PRODUCT_003 1 0 0 || fail 'ORDER_004 still waits in the inventory'
say 'an order that waited for too long was cancelled'

if demo >"$work/second" 2>&1; then fail 'a second demo on the same data started'; fi
grep -q 'a demo runs on .* already' "$work/second" || fail "a second demo says: $(cat "$work/second")"
if cargo run -q -- --data "$work/other" >"$work/second" 2>&1; then fail 'a second demo on the same ports started'; fi
grep -q 'port 8900, which api-gateway needs, is taken by demo (process' "$work/second" ||
  fail "a demo with taken ports says: $(cat "$work/second")"
say 'a second demo says who is in the way'

[[ $(order ORDER_101 1 -H 'Prefer: wait=10') == *'"status":"confirmed"'*'HTTP 200' ]] || fail 'ORDER_101'
[[ $(order ORDER_101 1) == *'HTTP 202' ]] || fail 'ORDER_101 placed again'
[[ $(order ORDER_101 2 -H 'Prefer: wait=10') == *'HTTP 422' ]] || fail 'ORDER_101 with other content'
[[ $(order ORDER_102 -1) == *'/items/0/quantity'*'HTTP 422' ]] || fail 'a negative quantity'
say 'placed, placed again, refused with other content, refused when broken'

[[ $(demo kill inventory-service) == *'killed inventory-service'* ]] || fail 'kill'
[[ $(demo status) == *inventory-service*'not running'* ]] || fail 'status'
[[ $(order ORDER_103 1) == *'HTTP 202' ]] || fail 'ORDER_103 without inventory'
eventually 'ORDER_103 is placed' 10 has_status ORDER_103 placed
demo start inventory-service >/dev/null
eventually 'ORDER_103 is confirmed' 20 has_status ORDER_103 confirmed
say 'an order waited for an inventory that was away'

demo kill nats-server >/dev/null
[[ $(order ORDER_104 1 -D -) == *[Rr]etry-[Aa]fter*'HTTP 503' ]] || fail 'no 503 without nats-server'
demo start nats-server >/dev/null
accepted() { [[ $(order ORDER_104 1) == *'HTTP 202' ]]; }
eventually 'ORDER_104 is accepted' 20 accepted
eventually 'ORDER_104 is confirmed' 20 has_status ORDER_104 confirmed
say 'without nats-server 503, and the same request works afterwards'

[[ $(order ORDER_105 10) == *'HTTP 202' ]] || fail 'ORDER_105'
eventually 'ORDER_105 waits' 10 has_status ORDER_105 awaiting-stock
curl -sS --json '{"quantity":8}' "$gateway/products/PRODUCT_001/restock" >/dev/null
eventually 'ORDER_105 is confirmed' 10 has_status ORDER_105 confirmed
say 'an order over the stock waited for a restock'

account=$gateway/accounts/CUSTOMER_002
curl -sS "$account" | sed 's/"amount":1000/"amount":50000/' >"$work/ben.json"
put() { curl -sS -w ' HTTP %{http_code}' -X PUT "$@" --json "@$work/ben.json" "$account"; }
[[ $(put) == *'HTTP 428' ]] || fail 'a change without If-Match'
[[ $(put -H 'If-Match: "1"') == *'"version":2'*'HTTP 200' ]] || fail 'a change with If-Match'
[[ $(put -H 'If-Match: "1"') == *'"version":2'*'HTTP 412' ]] || fail 'a change with a stale If-Match'
curl -sS --json '{"quantity":20}' "$gateway/products/PRODUCT_001/restock" >/dev/null
paid() { [[ $(order "$1" 1 -H 'Prefer: wait=5' | sed 's/.*"status":"\([a-z-]*\)".*/\1/') == confirmed ]]; }
customer=CUSTOMER_002
eventually 'ORDER_106 is paid within the new limit' 10 paid ORDER_106
customer=CUSTOMER_001
say 'an account was changed on the version that was read, and not on an older one'

behave() { curl -sS -X PUT --json "$1" http://127.0.0.1:8910/behaviour >/dev/null; }
taken() { curl -sS http://127.0.0.1:8910/ledger | grep -o "\"kind\":\"$1\",\"key\":\"$2[:\"]" | wc -l; }
behave '{"mode":"answer-then-drop","on":["capture"]}'
[[ $(order ORDER_107 1) == *'HTTP 202' ]] || fail 'ORDER_107'
is_taken() { [ "$(taken captured "$1")" = 1 ]; }
eventually 'ORDER_107 is charged' 20 is_taken ORDER_107
has_status ORDER_107 reserved || fail 'ORDER_107 is not in doubt'
behave '{"mode":"ok"}'
eventually 'ORDER_107 is confirmed' 20 has_status ORDER_107 confirmed
[ "$(taken captured ORDER_107)" = 1 ] || fail 'ORDER_107 is not charged once'
say 'an answer of the provider was lost, and the money taken once'

demo kill account-service >/dev/null
eventually 'ORDER_108 is paid' 10 paid ORDER_108
demo start account-service >/dev/null
say 'an order was paid while the accounts were away'

told() { curl -sS "$gateway/customers/CUSTOMER_001/notifications?limit=100" | grep -o "\"subject\":\"Your order $1 [a-z ]*\"" | wc -l; }
[ "$(told ORDER_004)" = 2 ] || fail "ORDER_004 was told of $(told ORDER_004) times"
[ "$(told ORDER_101)" = 1 ] || fail "ORDER_101 was told of $(told ORDER_101) times"
grep -lq 'ORDER_101 is confirmed' "$work"/data/mail/*.eml || fail 'no mail'
for from in replay snapshot fetch; do
  NATS_PASSWORD=payment-service-dev DATABASE_URL="sqlite://$work/data/payment-service.sqlite" \
    cargo run -q -- payment-service rebuild "$from" >"$work/rebuilt" 2>&1 || fail "rebuild $from: $(cat "$work/rebuilt")"
done
say 'customers were told once, and the copy of the accounts can be filled again'

close_store
if curl -s "$gateway/liveness" >/dev/null; then fail 'the gateway outlives the demo'; fi
open_store
has_stock PRODUCT_001 17 21 0 || fail "the data is not found again: $(curl -sS "$gateway/products/PRODUCT_001")"
close_store
open_store --fresh
has_stock PRODUCT_001 5 5 0 || fail '--fresh does not start over'
close_store
say 'stopped cleanly, found its data again, started over'
