//! Orders as they were, against a replay by hand.

use std::time::Duration;

use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::query::{Query, QueryError};
use choreography::testing::sqlite_in_memory;
use choreography::time_travel::Point;
use choreography::{EventSourced, Messages, event_store};
use choreography_test::Spec;
use contracts::order::{OrderDetails, OrderEvent, OrderItem, PlaceOrder};
use contracts::query::OrderView;
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use order_service::handler::OrderDecider;
use order_service::migration::Migrator;
use order_service::order::{Order, OrderMessage, evolve};
use order_service::queries;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sea_orm::DatabaseConnection;

use crate::{
    cancel, payment_captured, payment_declined, stock_backordered, stock_deadline, stock_refused, stock_reserved,
};

const ORDERS: usize = 1_000;
const DECIDER: OrderDecider = OrderDecider { stock_deadline: Duration::from_secs(60) };

/// Returns a message about another order.
fn about(message: OrderMessage, id: &OrderId) -> OrderMessage {
    let mut message = message;
    let order_id = match &mut message {
        OrderMessage::Place(command) => &mut command.0.order_id,
        OrderMessage::Cancel(command) => &mut command.order_id,
        OrderMessage::StockReserved(event) => &mut event.order_id,
        OrderMessage::StockBackordered(event) => &mut event.order_id,
        OrderMessage::StockRefused(event) => &mut event.order_id,
        OrderMessage::PaymentCaptured(event) => &mut event.order_id,
        OrderMessage::PaymentDeclined(event) => &mut event.order_id,
        OrderMessage::StockDeadline(timer) => &mut timer.order_id,
    };
    *order_id = id.clone();
    message
}

fn place(quantity: i64) -> OrderMessage {
    let item = OrderItem {
        product_id: ProductId::parse("PRODUCT_001").unwrap(),
        quantity: Quantity::parse(quantity).unwrap(),
        unit_price: Amount::parse(250).unwrap(),
    };
    let (id, customer) = (OrderId::parse("X").unwrap(), CustomerId::parse("CUSTOMER_001").unwrap());
    OrderMessage::Place(PlaceOrder(OrderDetails::new(id, customer, Currency::EUR, vec![item], None).unwrap()))
}

/// The messages of one order, in any order.
fn messages() -> impl Strategy<Value = Vec<OrderMessage>> {
    let any = prop_oneof![
        4 => (1_i64..9).prop_map(place),
        1 => Just(cancel()),
        2 => Just(stock_backordered()),
        3 => Just(stock_reserved()),
        1 => Just(stock_refused()),
        2 => Just(payment_captured()),
        1 => Just(payment_declined()),
        1 => Just(stock_deadline()),
    ];
    prop::collection::vec(any, 1..7)
}

/// The point of a history that is asked for.
fn points(first: i64, last: i64) -> impl Strategy<Value = Point> {
    prop_oneof![
        (-1_i64..8).prop_map(Point::Version),
        (first - 50..last + 50).prop_map(|millis| Point::At(from_unix_millis(millis))),
    ]
}

/// Replays a history by hand, up to a point.
fn by_hand(history: &[event_store::RecordedEvent], point: Point) -> Option<OrderView> {
    let (mut order, mut version, mut placed_at, mut updated_at) = (Order::default(), 0, None, 0);
    for row in history {
        let is_included = match point {
            Point::Version(wanted) => row.version <= wanted,
            Point::At(time) => row.recorded_at <= unix_millis(time),
        };
        if !is_included {
            break;
        }
        let event = OrderEvent::decode(&row.message_type, row.body.as_bytes()).unwrap();
        if matches!(event, OrderEvent::Placed(_)) {
            placed_at = Some(row.recorded_at);
        }
        order = evolve(order, &event);
        (version, updated_at) = (row.version, row.recorded_at);
    }
    if matches!(point, Point::Version(wanted) if wanted != version) {
        return None;
    }
    let details = order.details()?.clone();
    let reason = if let Order::Cancelled { reason, .. } = &order { Some(reason.clone()) } else { None };
    Some(OrderView {
        order_id: details.order_id,
        customer_id: details.customer_id,
        status: order.status()?,
        currency: details.currency,
        items: details.items,
        total_price: details.total_price,
        reason,
        version,
        placed_at: rfc3339(from_unix_millis(placed_at?)),
        updated_at: rfc3339(from_unix_millis(updated_at)),
    })
}

async fn get(db: &DatabaseConnection, id: &OrderId, body: String) -> Option<OrderView> {
    let query = Query { key: id.to_string(), body: body.into() };
    match queries::get(db.clone(), DECIDER, query).await {
        Ok(view) => Some(view),
        Err(QueryError::NotFound(_)) => None,
        Err(other) => panic!("{id}: {other:?}"),
    }
}

#[tokio::test]
async fn for_random_orders_and_times_the_answer_equals_a_replay_by_hand() {
    let mut runner = TestRunner::deterministic();
    let mut random = |strategy: BoxedStrategy<Vec<OrderMessage>>| strategy.new_tree(&mut runner).unwrap().current();
    let ids: Vec<OrderId> = (0..ORDERS).map(|n| OrderId::parse(format!("ORDER_{n}")).unwrap()).collect();
    let messages: Vec<Vec<OrderMessage>> = ids.iter().map(|_| random(messages().boxed())).collect();
    let mut spec = Spec::on(sqlite_in_memory::<Migrator>().await.unwrap(), "order-service", EventSourced(DECIDER));
    let first = unix_millis(spec.now());
    for round in 0..6 {
        let due: Vec<OrderMessage> = ids
            .iter()
            .zip(&messages)
            .filter_map(|(id, messages)| Some(about(messages.get(round)?.clone(), id)))
            .collect();
        for batch in due.chunks(100) {
            spec.advance(Duration::from_millis(37));
            spec.when_batch(batch.to_vec()).then_published().await;
        }
    }
    let last = unix_millis(spec.now());
    let keys: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let histories = event_store::load(spec.db(), &keys).await.unwrap();
    let (mut found, mut absent) = (0, 0);
    for id in &ids {
        let history = histories.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let point = points(first, last).new_tree(&mut runner).unwrap().current();
        let expected = by_hand(history, point);
        let answer = get(spec.db(), id, serde_json::to_string(&point).unwrap()).await;
        assert_eq!(answer, expected, "{id} {point}");
        if expected.is_some() {
            found += 1
        } else {
            absent += 1
        }
        let latest = Point::Version(i64::try_from(history.len()).unwrap());
        let present = get(spec.db(), id, String::new()).await;
        assert_eq!(present, get(spec.db(), id, serde_json::to_string(&latest).unwrap()).await, "{id}");
    }
    assert!(found > 200 && absent > 100, "{found} {absent}");
}

#[tokio::test]
async fn an_order_that_did_not_exist_then_is_not_found_and_an_invalid_point_is_refused() {
    let mut spec = Spec::on(sqlite_in_memory::<Migrator>().await.unwrap(), "order-service", EventSourced(DECIDER));
    let id = OrderId::parse("ORDER_001").unwrap();
    spec.when_batch([about(cancel(), &id)]).then_published().await;
    spec.advance(Duration::from_secs(1)).when_batch([about(place(3), &id)]).then_published().await;
    let ask = async |body: &str| {
        let query = Query { key: id.to_string(), body: body.to_owned().into() };
        queries::get(spec.db().clone(), DECIDER, query).await.map_err(|error| error.to_string())
    };
    assert_eq!(ask(r#"{"version":1}"#).await.unwrap_err(), "order ORDER_001 did not exist at version 1");
    assert_eq!(ask(r#"{"version":4}"#).await.unwrap_err(), "order ORDER_001 did not exist at version 4");
    assert!(ask(r#"{"at":"2020-01-01T00:00:00Z"}"#).await.unwrap_err().ends_with("at 2020-01-01T00:00:00Z"));
    assert!(ask(r#"{"version":2,"at":"2020-01-01T00:00:00Z"}"#).await.unwrap_err().starts_with("the body must be"));
    let (placed, cancelled) = (ask(r#"{"version":2}"#).await.unwrap(), ask("").await.unwrap());
    assert_eq!((placed.status.as_str(), placed.version), ("placed", 2));
    assert_eq!((cancelled.status.as_str(), cancelled.version), ("cancelled", 3));
}
