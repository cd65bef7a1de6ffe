#!/usr/bin/env bash
# Brings compose.yaml up for real, breaks each of its containers in turn, and checks that nothing is lost and
# nothing happens twice.
#
#   e2e/compose-check.sh
#
# Needs docker with compose, curl, and jq. It runs beside a store that is up: its project and its ports are its own,
# and it removes whatever it made. A line a check; the first that fails ends it with status 1.
set -euo pipefail

readonly project=store-check
export NATS_PORT=14222 NATS_MONITOR_PORT=18222 GATEWAY_PORT=18900 INVENTORY_PORT=18901 ORDER_PORT=18902
# Passwords that break where somebody forgets to quote them.
export ORDER_SERVICE_PASSWORD='2+2 is #4' INVENTORY_SERVICE_PASSWORD=12345
export ORDER_SERVICE_DATABASE_PASSWORD="o'clock@/:?" INVENTORY_SERVICE_DATABASE_PASSWORD='100% $sure'

readonly gateway=http://127.0.0.1:$GATEWAY_PORT
readonly inventory=http://127.0.0.1:$INVENTORY_PORT
readonly orders=http://127.0.0.1:$ORDER_PORT
readonly monitor=http://127.0.0.1:$NATS_MONITOR_PORT

for tool in docker curl jq; do
    command -v "$tool" >/dev/null || { echo "this check needs $tool" >&2; exit 2; }
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# --- What is done ---------------------------------------------------------------------------------------------------

compose() { docker compose --progress quiet --project-name "$project" "$@"; }
container() { compose ps --all --quiet "$1"; }
kill_container() { docker kill --signal KILL "$(container "$1")" >/dev/null; }
stop_container() { docker stop "$(container "$1")" >/dev/null; }
start_container() { docker start "$(container "$1")" >/dev/null; }
get() { curl --silent --show-error --max-time 10 "$1"; }
sql() { compose exec -T postgres psql --no-psqlrc --tuples-only --no-align --dbname "$1" --command "$2"; }

# --- What can be asked; each says on its output what it saw ---------------------------------------------------------

# <expected status> <curl's arguments>
answers() {
    local status
    status=$(curl --silent --max-time 15 --output /dev/null --write-out '%{http_code}' "${@:2}") || true
    echo "HTTP status $status instead of $1"
    [ "$status" = "$1" ]
}

# <expected status> <order>: one piece of a product of the demo catalogue
placing_answers() {
    answers "$1" "$gateway/orders" --header 'content-type: application/json' --header "idempotency-key: \"$2\"" --data '
        { "orderId": "'"$2"'", "customerId": "CUSTOMER_001", "currency": "EUR",
          "items": [{ "productId": "PRODUCT_002", "quantity": 1, "unitPrice": 500 }] }'
}

# <what> <expected> <actual>
same() {
    echo "$1: $3 instead of $2"
    [ "$2" = "$3" ]
}

order_is() { same "$1" "$2" "$(get "$gateway/orders/$1" | jq --raw-output .status)"; }
stays() { sleep 3 && "$@"; }
is_healthy() { same "$1" healthy "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")"; }
is_unhealthy() { same "$1" unhealthy "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")"; }

all_healthy() {
    local service
    for service in nats postgres order-service inventory-service api-gateway; do
        is_healthy "$service" || return 1
    done
}

# Each order of PRODUCT_002 took its pieces once: 2 by the demo's orders, 1 by each of ours.
stock_adds_up() {
    local product
    product=$(get "$gateway/products/PRODUCT_002")
    same PRODUCT_002 "15 in all, $((2 + placed)) reserved" \
        "$(jq --raw-output '"\(.available + .reserved) in all, \(.reserved) reserved"' <<<"$product")"
}

confirmed_once() {
    same "confirmations of $1" 1 \
        "$(get "$gateway/orders/$1/history" | jq '[.events[] | select(.type == "order.confirmed.v1")] | length')"
}

no_message_left() {
    local service
    for service in order-service inventory-service; do
        same "unpublished rows of $service" 0 \
            "$(sql "$service" 'SELECT count(*) FROM outbox WHERE published_at IS NULL')" || return 1
    done
    same "dead letters" 0 "$(get "$monitor/jsz?streams=true" \
        | jq '.account_details[].stream_detail[] | select(.name == "DEAD_LETTERS") | .state.messages')"
}

published_on_loopback_only() {
    local ports
    ports=$(compose ps --quiet | xargs docker inspect \
        | jq --raw-output '.[].NetworkSettings.Ports[]? | .[]? | .HostIp' | sort | uniq --count)
    same "addresses of the published ports" "5 127.0.0.1" "$(xargs <<<"$ports")"
}

hardened() {
    local service
    for service in nats postgres order-service inventory-service api-gateway; do
        same "$service" 'true ["ALL"] ["no-new-privileges:true"]' "$(docker inspect "$(container "$service")" \
            | jq --raw-output '.[0].HostConfig | "\(.ReadonlyRootfs) \(.CapDrop) \(.SecurityOpt)"')" || return 1
    done
    same "user of order-service" 10001 "$(compose exec -T order-service id --user)"
}

# A volume without a name outlives `down`, and nobody knows what it was.
only_named_volumes() {
    same volumes "${project}_nats ${project}_postgres" "$(compose ps --all --quiet | xargs docker inspect \
        | jq --raw-output '.[].Mounts[] | select(.Type == "volume") | .Name' | sort | xargs)"
}

seeded() { compose run --rm --no-TTY seed; }

ended_well() {
    local service
    for service in order-service inventory-service api-gateway; do
        same "exit status of $service" 0 "$(docker inspect --format '{{.State.ExitCode}}' "$(container "$service")")" \
            || return 1
    done
}

nothing_left() {
    local label=label=com.docker.compose.project=$project
    same "what is left" "" "$(docker ps --all --quiet --filter "$label")$(docker volume ls --quiet --filter "$label")$(
        docker network ls --quiet --filter "$label")"
}

# --- How it is reported ---------------------------------------------------------------------------------------------

failed() {
    printf 'FAILED  %s\n%s\n' "$1" "$2"
    compose ps --all || true
    compose logs --tail 20 || true
    exit 1
}

# <what> <question>
check() {
    local saw
    saw=$("${@:2}" 2>&1) || failed "$1" "$saw"
    printf 'ok      %s\n' "$1"
}

# <seconds> <what> <question>: asks until it holds
within() {
    local saw began=$SECONDS
    until saw=$("${@:3}" 2>&1); do
        [ $((SECONDS - began)) -lt "$1" ] || failed "$2 (within $1 s)" "$saw"
        sleep 0.2
    done
    printf 'ok      %s (%d s)\n' "$2" $((SECONDS - began))
}

placed=0
# <order> <when>
order_is_accepted() {
    check "$2: POST /orders answers 202" placing_answers 202 "$1"
    placed=$((placed + 1))
}

# <order> <when>
order_is_confirmed() {
    within 60 "$2: the order is confirmed" order_is "$1" confirmed
    check "$2: … once" confirmed_once "$1"
}

clean_up() { compose --profile seed down --volumes --timeout 5 >/dev/null 2>&1 || true; }
trap clean_up EXIT
clean_up

# --- The checks -----------------------------------------------------------------------------------------------------

check "it builds" compose build
check "it comes up" compose up --wait --wait-timeout 180
check "every published port is on 127.0.0.1" published_on_loopback_only
check "containers are read-only, without capabilities, and services without root" hardened
check "all volumes have a name" only_named_volumes
check "the demo's data load" seeded
within 20 "ORDER_001 is confirmed" order_is ORDER_001 confirmed
within 20 "ORDER_002 is confirmed" order_is ORDER_002 confirmed
check "… in PostgreSQL" same order_view "ORDER_001 confirmed, ORDER_002 confirmed" "$(sql order-service \
    "SELECT string_agg(order_id || ' ' || status, ', ' ORDER BY order_id) FROM order_view")"
check "loading them again changes nothing" seeded
check "… the stock is the same" stock_adds_up

kill_container inventory-service
order_is_accepted CHECK_INVENTORY "inventory-service killed"
within 10 "inventory-service killed: the order is placed" order_is CHECK_INVENTORY placed
check "inventory-service killed: … and stays so" stays order_is CHECK_INVENTORY placed
start_container inventory-service
order_is_confirmed CHECK_INVENTORY "inventory-service started"

kill_container order-service
order_is_accepted CHECK_ORDER "order-service killed"
check "order-service killed: GET /orders answers 503" answers 503 "$gateway/orders"
start_container order-service
order_is_confirmed CHECK_ORDER "order-service started"

kill_container api-gateway
start_container api-gateway
within 60 "api-gateway killed and started: it is ready" answers 200 "$gateway/readiness"
order_is_accepted CHECK_GATEWAY "api-gateway started"
order_is_confirmed CHECK_GATEWAY "api-gateway started"

kill_container nats
check "nats killed: POST /orders answers 503" placing_answers 503 CHECK_NATS
for url in "$gateway" "$orders" "$inventory"; do
    within 10 "nats killed: $url/readiness answers 503" answers 503 "$url/readiness"
done
start_container nats
for url in "$gateway" "$orders" "$inventory"; do
    within 60 "nats started: $url/readiness answers 200" answers 200 "$url/readiness"
done
order_is_accepted CHECK_NATS "nats started, the same request again"
order_is_confirmed CHECK_NATS "nats started"

kill_container postgres
order_is_accepted CHECK_POSTGRES "postgres killed"
for url in "$orders" "$inventory"; do
    within 30 "postgres killed: $url/readiness answers 503" answers 503 "$url/readiness"
done
start_container postgres
order_is_confirmed CHECK_POSTGRES "postgres started"

stop_container postgres
# No message is on its way: the services must find out by themselves.
for service in order-service inventory-service; do
    within 90 "postgres stopped: the container of $service becomes unhealthy" is_unhealthy "$service"
done
start_container postgres
within 60 "postgres started: all containers are healthy" all_healthy
order_is_accepted CHECK_STOPPED "postgres started"
order_is_confirmed CHECK_STOPPED "postgres started"

compose ps --quiet | xargs docker kill --signal KILL >/dev/null
check "everything killed at once: it comes up again" compose up --wait --wait-timeout 180
order_is_accepted CHECK_ALL "everything killed at once"
order_is_confirmed CHECK_ALL "everything killed at once"

check "everything stops" compose stop
check "… and each service had finished what it had begun" ended_well
check "it goes away" compose down
check "it comes up again" compose up --wait --wait-timeout 180
for order in ORDER_001 CHECK_INVENTORY CHECK_ALL; do
    within 10 "down and up: $order is still confirmed" order_is "$order" confirmed
done
order_is_accepted CHECK_DOWN "down and up"
order_is_confirmed CHECK_DOWN "down and up"

check "after all that: each piece was reserved once" stock_adds_up
within 30 "after all that: no message is unpublished, and none a dead letter" no_message_left

check "it goes away, with its data" compose --profile seed down --volumes
check "… and leaves nothing" nothing_left
