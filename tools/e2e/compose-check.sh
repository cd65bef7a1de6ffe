#!/usr/bin/env bash
# Starts compose.yaml with docker, kills each of its containers in turn, and checks that nothing is lost and nothing
# happens twice.
#
#   tools/e2e/compose-check.sh             one nats-server
#   tools/e2e/compose-check.sh --cluster   three nats-servers: with compose.cluster.yaml
#
# Needs docker with compose, curl, and jq. It can run next to a running shop: its project and its ports are its own,
# and it removes everything it created. It prints one line per check; the first failure ends it with status 1.
set -euo pipefail

# `majority`: the nats-servers whose loss stops the shop. `outage_noticed`: the seconds after which every service is
# unready. If one server is left, services stay connected to it, and only the polling of their consumers fails.
case "${*:-}" in
    '')
        files=(compose.yaml) servers=(nats) majority=(nats) outage_noticed=10
        ;;
    --cluster)
        files=(compose.yaml compose.cluster.yaml) servers=(nats nats-2 nats-3) majority=(nats-2 nats-3) outage_noticed=30
        ;;
    *)
        echo "usage: tools/e2e/compose-check.sh [--cluster]" >&2
        exit 2
        ;;
esac
readonly files servers majority outage_noticed
readonly project=shop-check
export NATS_PORT=14222 NATS_MONITOR_PORT=18222 GATEWAY_PORT=18900 INVENTORY_PORT=18901 ORDER_PORT=18902
export NOTIFICATION_PORT=18903 PROJECTION_PORT=18907 ACCOUNT_PORT=18904 PAYMENT_PORT=18905 PROVIDER_PORT=18910
# Passwords that fail if they are not quoted.
export ORDER_SERVICE_PASSWORD='2+2 is #4' INVENTORY_SERVICE_PASSWORD=12345 PAYMENT_SERVICE_PASSWORD='[1, 2]'
export ORDER_SERVICE_DATABASE_PASSWORD="o'clock@/:?" INVENTORY_SERVICE_DATABASE_PASSWORD='100% $sure'
export ACCOUNT_SERVICE_DATABASE_PASSWORD=' two  words '

readonly gateway=http://127.0.0.1:$GATEWAY_PORT
readonly provider=http://127.0.0.1:$PROVIDER_PORT
readonly monitor=http://127.0.0.1:$NATS_MONITOR_PORT
# The services with a database, by container, and their URLs.
declare -Ar services=(
    [inventory-service]=http://127.0.0.1:$INVENTORY_PORT
    [order-service]=http://127.0.0.1:$ORDER_PORT
    [notification-service]=http://127.0.0.1:$NOTIFICATION_PORT
    [projection-service]=http://127.0.0.1:$PROJECTION_PORT
    [account-service]=http://127.0.0.1:$ACCOUNT_PORT
    [payment-service]=http://127.0.0.1:$PAYMENT_PORT
)

for tool in docker curl jq; do
    command -v "$tool" >/dev/null || { echo "this check needs $tool" >&2; exit 2; }
done
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# --- Actions -------------------------------------------------------------------------------------------------------

compose() { docker compose --progress quiet --project-name "$project" "${files[@]/#/--file=}" "$@"; }
container() { compose ps --all --quiet "$1"; }
kill_container() { docker kill --signal KILL "$(container "$1")" >/dev/null; }
stop_container() { docker stop "$(container "$1")" >/dev/null; }
start_container() { docker start "$(container "$1")" >/dev/null; }
get() { curl --silent --show-error --max-time 10 "$1"; }
sql() { compose exec -T postgres psql --no-psqlrc --tuples-only --no-align --dbname "$1" --command "$2"; }

# --- Conditions; each prints the state that it found ----------------------------------------------------------------

# <expected status> <curl's arguments>
returns_status() {
    local status
    status=$(curl --silent --max-time 15 --output /dev/null --write-out '%{http_code}' "${@:2}") || true
    echo "HTTP status $status instead of $1"
    [ "$status" = "$1" ]
}

# <expected status> <order>: one unit of a product of the demo catalogue, for a customer with a card
placing_returns() {
    returns_status "$1" "$gateway/orders" --header 'content-type: application/json' --header "idempotency-key: \"$2\"" --data '
        { "orderId": "'"$2"'", "customerId": "CUSTOMER_001", "currency": "EUR",
          "items": [{ "productId": "PRODUCT_002", "quantity": 1, "unitPrice": 500 }] }'
}

# <what> <expected> <actual>
same() {
    echo "$1: $3 instead of $2"
    [ "$2" = "$3" ]
}

behave() { returns_status 200 "$provider/behaviour" --request PUT --header 'content-type: application/json' --data "$1"; }

# <order> <entries of the provider's ledger>; only the provider knows these
charges_are() {
    local kinds
    kinds=$(get "$provider/ledger" | jq --raw-output '[.entries[] | select(.key | startswith("'"$1"':") and (endswith("/refund") | not)) | .kind] | join(" ")') \
        && same "ledger entries of $1" "$2" "$kinds"
}
is_charged() { charges_are "$1" captured; }
is_not_charged() { charges_are "$1" ''; }

is_notified() {
    same "notifications that $1 is confirmed" 1 "$(get "$gateway/customers/CUSTOMER_001/notifications?limit=200" \
        | jq '[.items[] | select(.orderId == "'"$1"'" and .type == "order.confirmed.v1")] | length')"
}
is_mailed() {
    compose exec -T notification-service sh -c "grep --files-with-matches '$1 is confirmed' data/mail/*.eml"
}

# <order> <status and reason>
payment_is() {
    same "payment of $1" "$2" "$(get "$gateway/orders/$1/payment" | jq --raw-output '"\(.status) \(.reason)"')"
}
# <product> <available> <reserved>
stock_is() {
    same "$1" "$2 available, $3 reserved, 0 backordered" "$(get "$gateway/products/$1" \
        | jq --raw-output '"\(.available) available, \(.reserved) reserved, \(.backordered) backordered"')"
}
order_is() { same "$1" "$2" "$(get "$gateway/orders/$1" | jq --raw-output .status)"; }
stays() { sleep 3 && "$@"; }
is_healthy() { same "$1" healthy "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")"; }
is_unhealthy() { same "$1" unhealthy "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")"; }

all_healthy() {
    local service
    for service in "${servers[@]}" postgres "${!services[@]}" payment-provider api-gateway; do
        is_healthy "$service" || return 1
    done
}

# Each order of PRODUCT_002 reserved its units once: 2 by the demo's orders, 1 by each order here. There were 15
# units.
stock_reconciles() { stock_is PRODUCT_002 $((15 + restocked - 2 - placed)) $((2 + placed)); }

# Each confirmed order was charged once, and no other order ever.
charges_reconcile() {
    local confirmed
    confirmed=$(get "$gateway/orders?status=confirmed&limit=200" \
        | jq --raw-output '[.items[] | "\(.orderId) \(.totalPrice)"] | sort | join(", ")')
    same "orders in all" $((2 + placed)) "$(tr , '\n' <<<"$confirmed" | wc --lines)" || return 1
    same "captures" "$confirmed" "$(get "$provider/ledger" \
        | jq --raw-output '[.entries[] | select(.kind == "captured") | "\(.orderId) \(.amount)"] | sort | join(", ")')"
}

# The projections have each order once: only CUSTOMER_001 has confirmed orders, with the units of PRODUCT_002 that
# `stock_reconciles` counts.
read_models_reconcile() {
    same "confirmed orders of the search" $((2 + placed)) \
        "$(get "$gateway/orders?customerId=CUSTOMER_001&status=confirmed&limit=200" | jq '.items | length')" || return 1
    same "confirmed orders in the summary" $((2 + placed)) \
        "$(get "$gateway/customers/CUSTOMER_001/summary" | jq .confirmed)" || return 1
    same "sold units of PRODUCT_002" $((2 + placed)) "$(get "$gateway/reports/sales" \
        | jq '[.items[] | select(.productId == "PRODUCT_002") | .confirmedUnits] | add')"
}

confirmed_once() {
    same "confirmations of $1" 1 \
        "$(get "$gateway/orders/$1/history" | jq '[.events[] | select(.type == "order.confirmed.v1")] | length')"
}

no_message_left() {
    local service
    for service in "${!services[@]}"; do
        same "pending ranges of $service" 0 \
            "$(sql "$service" 'SELECT count(*) FROM outbox_pending')" || return 1
    done
    same "dead letters" 0 "$(get "$monitor/jsz?streams=true" \
        | jq '.account_details[].stream_detail[] | select(.name == "DEAD_LETTERS") | .state.messages')"
}

published_on_loopback_only() {
    local ports
    ports=$(compose ps --quiet | xargs docker inspect \
        | jq --raw-output '.[].NetworkSettings.Ports[]? | .[]? | .HostIp' | sort | uniq --count)
    same "addresses of the published ports" "10 127.0.0.1" "$(xargs <<<"$ports")"
}

hardened() {
    local service
    for service in "${servers[@]}" postgres "${!services[@]}" payment-provider api-gateway; do
        same "$service" 'true ["ALL"] ["no-new-privileges:true"]' "$(docker inspect "$(container "$service")" \
            | jq --raw-output '.[0].HostConfig | "\(.ReadonlyRootfs) \(.CapDrop) \(.SecurityOpt)"')" || return 1
    done
    same "user of order-service" 10001 "$(compose exec -T order-service id --user)"
}

# A volume without a name outlives `down` and cannot be assigned to a project.
only_named_volumes() {
    local expected
    expected=$(printf "${project}_%s\n" "${servers[@]}" notification-service payment-provider postgres | sort | xargs)
    same volumes "$expected" "$(compose ps --all --quiet | xargs docker inspect \
        | jq --raw-output '.[].Mounts[] | select(.Type == "volume") | .Name' | sort | xargs)"
}

# Each stream and bucket of the topology has a replica on every server.
replicated() {
    local expected
    expected=$(printf '%s\n' COMMANDS DEAD_LETTERS EVENTS KV_IDEMPOTENCY TIMERS | sed "s/\$/ ${#servers[@]}/" | xargs)
    same "replicas per stream" "$expected" "$(get "$monitor/jsz?streams=true&config=true" \
        | jq --raw-output '.account_details[].stream_detail[].config | "\(.name) \(.num_replicas)"' | sort | xargs)"
}

# <url>: a foreign Host or Origin is refused
refuses_foreign_requests() {
    returns_status 200 "$1/liveness" --header "host: localhost:${1##*:}" || return 1
    returns_status 421 "$1/liveness" --header 'host: shop.example' || return 1
    returns_status 403 "$1/liveness" --header 'origin: http://shop.example'
}

# <container> <url>: a container sends requests to another, by its name
reaches() { compose exec -T "$1" demo healthcheck "$2"; }

# The shop's own consistency checks, which are unknown while messages are in flight.
invariants_pass() {
    same "invariants that do not pass" '[]' "$(get "$gateway/invariants" \
        | jq --compact-output '[.checks[] | select(.status != "pass") | {name, status, detail}]')"
}

seeded() { compose run --rm --no-TTY seed; }

ended_well() {
    local service
    for service in "${!services[@]}" payment-provider api-gateway; do
        same "exit status of $service" 0 "$(docker inspect --format '{{.State.ExitCode}}' "$(container "$service")")" \
            || return 1
    done
}

nothing_left() {
    local label=label=com.docker.compose.project=$project
    same "leftovers" "" "$(docker ps --all --quiet --filter "$label")$(docker volume ls --quiet --filter "$label")$(
        docker network ls --quiet --filter "$label")"
}

# --- Reports --------------------------------------------------------------------------------------------------------

failed() {
    printf 'FAILED  %s\n%s\n' "$1" "$2"
    compose ps --all || true
    compose logs --tail 20 || true
    exit 1
}

# <what> <condition>
check() {
    local saw
    saw=$("${@:2}" 2>&1) || failed "$1" "$saw"
    printf 'ok      %s\n' "$1"
}

# <seconds> <what> <condition>: repeats until it is met
within() {
    local saw began=$SECONDS
    until saw=$("${@:3}" 2>&1); do
        [ $((SECONDS - began)) -lt "$1" ] || failed "$2 (within $1 s)" "$saw"
        sleep 0.2
    done
    printf 'ok      %s (%d s)\n' "$2" $((SECONDS - began))
}

placed=0
restocked=0
# <order> <when>
order_is_accepted() {
    check "$2: POST /orders returns 202" placing_returns 202 "$1"
    placed=$((placed + 1))
}

# <order> <when>
order_is_confirmed() {
    within 60 "$2: the order is confirmed" order_is "$1" confirmed
    check "$2: … once" confirmed_once "$1"
    check "$2: … and charged once" is_charged "$1"
}

# With both files, because an interrupted run may have had three nats-servers.
clean_up() {
    docker compose --project-name "$project" --file compose.yaml --file compose.cluster.yaml --profile seed \
        down --volumes --timeout 5 >/dev/null 2>&1 || true
}
trap clean_up EXIT
clean_up

# --- The checks -----------------------------------------------------------------------------------------------------

check "the image builds" compose build
check "the shop starts" compose up --wait --wait-timeout 180
check "every published port is on 127.0.0.1" published_on_loopback_only
check "containers are read-only, without capabilities, and services without root" hardened
check "all volumes have a name" only_named_volumes
check "every stream is on every nats-server" replicated
for url in "$gateway" "$provider" "${services[@]}"; do
    check "$url refuses requests with a foreign Host or Origin" refuses_foreign_requests "$url"
done
check "a service accepts requests from another container" reaches api-gateway http://order-service:8902/readiness
check "a service accepts requests from the gateway's pages" \
    returns_status 200 "${services[order-service]}/liveness" --header "origin: $gateway"
check "the demo's data load" seeded
for order in ORDER_001 ORDER_002; do
    within 20 "$order is confirmed" order_is "$order" confirmed
    check "$order: the payment is captured" payment_is "$order" 'captured null'
    check "$order: … once, by the provider's ledger" is_charged "$order"
    within 20 "$order: the customer is notified" is_notified "$order"
    within 20 "$order: … by e-mail" is_mailed "$order"
done
within 20 "ORDER_003 exceeds the credit limit and is cancelled" order_is ORDER_003 cancelled
check "ORDER_003: the payment is declined" payment_is ORDER_003 'declined limit-exceeded'
within 20 "ORDER_003: its stock is released" stock_is PRODUCT_001 5 5
check "ORDER_003: nothing is charged, by the provider's ledger" is_not_charged ORDER_003
within 40 "ORDER_004 is cancelled by its stock deadline" order_is ORDER_004 cancelled
within 20 "ORDER_004: its backorder is removed" stock_is PRODUCT_003 1 0
check "ORDER_004: nothing is charged, by the provider's ledger" is_not_charged ORDER_004
check "… in PostgreSQL" same order_view \
    "ORDER_001 confirmed, ORDER_002 confirmed, ORDER_003 cancelled, ORDER_004 cancelled" "$(sql order-service \
    "SELECT string_agg(order_id || ' ' || status, ', ' ORDER BY order_id) FROM order_views")"
check "loading it again changes nothing" seeded
check "… the stock is the same" stock_reconciles
within 20 "… the charges are the same" charges_reconcile
within 20 "… the read models are the same" read_models_reconcile
check "more stock" returns_status 202 "$gateway/products/PRODUCT_002/restock" \
    --header 'content-type: application/json' --data '{ "quantity": 20 }'
restocked=20
within 20 "… is available" stock_reconciles

check "the provider declines from now on" behave '{ "mode": "decline" }'
check "declined: POST /orders returns 202" placing_returns 202 CHECK_DECLINED
within 20 "declined: the order is cancelled" order_is CHECK_DECLINED cancelled
check "declined: … because of the provider" payment_is CHECK_DECLINED 'declined provider-declined'
check "declined: … which charged nothing" charges_are CHECK_DECLINED declined
within 20 "declined: the stock is released" stock_reconciles
check "the provider works again" behave '{ "mode": "ok" }'

kill_container inventory-service
order_is_accepted CHECK_INVENTORY "inventory-service killed"
within 10 "inventory-service killed: the order is placed" order_is CHECK_INVENTORY placed
check "inventory-service killed: … and stays so" stays order_is CHECK_INVENTORY placed
start_container inventory-service
order_is_confirmed CHECK_INVENTORY "inventory-service started"

kill_container order-service
order_is_accepted CHECK_ORDER "order-service killed"
check "order-service killed: GET /orders/{id} returns 503" returns_status 503 "$gateway/orders/ORDER_001"
start_container order-service
order_is_confirmed CHECK_ORDER "order-service started"

kill_container account-service
check "account-service killed: GET /accounts returns 503" returns_status 503 "$gateway/accounts/CUSTOMER_001"
order_is_accepted CHECK_ACCOUNT "account-service killed"
order_is_confirmed CHECK_ACCOUNT "account-service killed"
start_container account-service
within 60 "account-service started: GET /accounts returns 200" returns_status 200 "$gateway/accounts/CUSTOMER_001"

kill_container payment-service
order_is_accepted CHECK_PAYMENT "payment-service killed"
within 10 "payment-service killed: the order has its stock" order_is CHECK_PAYMENT reserved
check "payment-service killed: … and stays so" stays order_is CHECK_PAYMENT reserved
check "payment-service killed: nothing is charged" is_not_charged CHECK_PAYMENT
start_container payment-service
order_is_confirmed CHECK_PAYMENT "payment-service started"

check "the provider is slow from now on" behave '{ "mode": "slow", "ms": 8000, "on": ["capture"] }'
order_is_accepted CHECK_CAPTURE "payment-service killed during a capture"
within 10 "payment-service killed during a capture: it has begun" payment_is CHECK_CAPTURE 'capturing null'
sleep 1
kill_container payment-service
within 15 "payment-service killed during a capture: the amount is captured" is_charged CHECK_CAPTURE
check "payment-service killed during a capture: the order stays reserved" stays order_is CHECK_CAPTURE reserved
# Before the start: a capture with a slow provider is in doubt for a minute, longer than this check waits.
check "the provider works again" behave '{ "mode": "ok" }'
start_container payment-service
order_is_confirmed CHECK_CAPTURE "payment-service started"

kill_container payment-provider
order_is_accepted CHECK_PROVIDER "payment-provider killed"
within 10 "payment-provider killed: the order has its stock" order_is CHECK_PROVIDER reserved
check "payment-provider killed: … and stays so" stays order_is CHECK_PROVIDER reserved
start_container payment-provider
order_is_confirmed CHECK_PROVIDER "payment-provider started"
check "payment-provider started: its ledger is complete" is_charged ORDER_001

kill_container notification-service
order_is_accepted CHECK_NOTIFICATION "notification-service killed"
order_is_confirmed CHECK_NOTIFICATION "notification-service killed"
check "notification-service killed: GET /customers/…/notifications returns 503" \
    returns_status 503 "$gateway/customers/CUSTOMER_001/notifications"
start_container notification-service
within 60 "notification-service started: the customer is notified once" is_notified CHECK_NOTIFICATION
within 20 "notification-service started: … and by e-mail" is_mailed CHECK_NOTIFICATION

kill_container projection-service
check "projection-service killed: GET /orders returns 503" returns_status 503 "$gateway/orders"
order_is_accepted CHECK_PROJECTION "projection-service killed"
order_is_confirmed CHECK_PROJECTION "projection-service killed"
start_container projection-service
within 60 "projection-service started: the read models have the order, once" read_models_reconcile

kill_container api-gateway
start_container api-gateway
within 60 "api-gateway killed and started: it is ready" returns_status 200 "$gateway/readiness"
order_is_accepted CHECK_GATEWAY "api-gateway started"
order_is_confirmed CHECK_GATEWAY "api-gateway started"

# If one of three servers is down, the others elect leaders, and a process that starts meanwhile connects to them.
if [ "${#servers[@]}" -gt 1 ]; then
    for server in "${servers[@]}"; do
        kill_container "$server"
        within 30 "$server killed: POST /orders returns 202" placing_returns 202 "CHECK_WITHOUT_$server"
        placed=$((placed + 1))
        order_is_confirmed "CHECK_WITHOUT_$server" "$server killed"
        check "$server killed: api-gateway stops" stop_container api-gateway
        start_container api-gateway
        for url in "$gateway" "${services[@]}"; do
            within 60 "$server killed: $url/readiness returns 200" returns_status 200 "$url/readiness"
        done
        start_container "$server"
        within 60 "$server started: the container is healthy" is_healthy "$server"
    done
fi

for server in "${majority[@]}"; do kill_container "$server"; done
check "nats killed: POST /orders returns 503" placing_returns 503 CHECK_NATS
for url in "$gateway" "${services[@]}"; do
    within "$outage_noticed" "nats killed: $url/readiness returns 503" returns_status 503 "$url/readiness"
done
for server in "${majority[@]}"; do start_container "$server"; done
for url in "$gateway" "${services[@]}"; do
    within 60 "nats started: $url/readiness returns 200" returns_status 200 "$url/readiness"
done
order_is_accepted CHECK_NATS "nats started, the same request repeated"
order_is_confirmed CHECK_NATS "nats started"

kill_container postgres
order_is_accepted CHECK_POSTGRES "postgres killed"
for url in "${services[@]}"; do
    within 30 "postgres killed: $url/readiness returns 503" returns_status 503 "$url/readiness"
done
start_container postgres
order_is_confirmed CHECK_POSTGRES "postgres started"

stop_container postgres
# No message is in flight: the services must detect the outage by themselves.
for service in "${!services[@]}"; do
    within 90 "postgres stopped: the container of $service becomes unhealthy" is_unhealthy "$service"
done
start_container postgres
within 60 "postgres started: all containers are healthy" all_healthy
order_is_accepted CHECK_STOPPED "postgres started"
order_is_confirmed CHECK_STOPPED "postgres started"

compose ps --quiet | xargs docker kill --signal KILL >/dev/null
check "everything killed at once: the shop starts again" compose up --wait --wait-timeout 180
order_is_accepted CHECK_ALL "everything killed at once"
order_is_confirmed CHECK_ALL "everything killed at once"

check "everything stops" compose stop
check "… and each service exits with status 0" ended_well
check "the containers are removed" compose down
check "the shop starts again" compose up --wait --wait-timeout 180
for order in ORDER_001 CHECK_INVENTORY CHECK_ALL; do
    within 10 "down and up: $order is still confirmed" order_is "$order" confirmed
done
order_is_accepted CHECK_DOWN "down and up"
order_is_confirmed CHECK_DOWN "down and up"

check "after all that: each unit was reserved once" stock_reconciles
within 30 "after all that: each confirmed order was charged once, and no other" charges_reconcile
within 30 "after all that: the read models have each order once" read_models_reconcile
for order in CHECK_ACCOUNT CHECK_PAYMENT CHECK_CAPTURE CHECK_PROVIDER CHECK_PROJECTION CHECK_NATS CHECK_POSTGRES CHECK_ALL \
    CHECK_DOWN; do
    within 30 "after all that: the customer of $order was notified once" is_notified "$order"
    within 30 "after all that: … and by e-mail" is_mailed "$order"
done
within 30 "after all that: no message is pending or a dead letter" no_message_left
within 60 "after all that: every invariant passes" invariants_pass

check "the containers and their data are removed" compose --profile seed down --volumes
check "… without leftovers" nothing_left
