//! Batches on a database: the recorded history, the view, and the published events.

use std::time::Duration;

use choreography::{Envelope, EventSourced, Handler as _, database, event_store};
use choreography_test::{Engine, Spec, TestPostgres, cancelled, on_both_databases, published, scheduled};
use contracts::CustomerId;
use contracts::order::{
    CancelOrderDeferred, CancelOrderRefused, CancelReason, CancelRefusal, OrderAwaitingStock, OrderCancelled,
    OrderConfirmed, OrderDetails, OrderPlaced, OrderReserved, PlaceOrderRefused, PlaceRefusal, StockDeadlinePassed,
};
use order_service::entity::order_view;
use order_service::handler::OrderDecider;
use order_service::migration::Migrator;
use order_service::order::OrderMessage;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Statement, TransactionTrait};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{cancel, details, order_id, payment_captured, place, products, stock_backordered, stock_reserved};

/// The handler, with a deadline that no test waits for.
const HANDLER: EventSourced<OrderDecider> = EventSourced(OrderDecider { stock_deadline: STOCK_DEADLINE });
const STOCK_DEADLINE: Duration = Duration::from_secs(3600);

type OrderSpec = Spec<EventSourced<OrderDecider>>;

on_both_databases!(
    the_decisions_of_one_batch_are_recorded_projected_and_published_in_order,
    the_same_decisions_in_several_batches_have_the_same_result,
    a_refusal_is_published_and_neither_recorded_nor_projected,
    a_cancel_before_its_order_is_recorded_and_has_no_view,
    every_message_delivered_twice_has_the_same_result,
);

async fn spec(engine: Engine) -> OrderSpec {
    match engine {
        Engine::Sqlite => Spec::new::<Migrator>("order-service", HANDLER).await.unwrap(),
        Engine::Postgres => {
            let url = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
            Spec::on(database::open::<Migrator>(&url).await.unwrap(), "order-service", HANDLER)
        }
    }
}

/// The types of the recorded events, whose versions count from 1.
async fn history(spec: &OrderSpec) -> Vec<String> {
    let id = order_id().to_string();
    let rows = event_store::load(spec.db(), std::slice::from_ref(&id)).await.unwrap().remove(&id);
    let rows = rows.unwrap_or_default();
    let versions: Vec<_> = rows.iter().map(|row| row.version).collect();
    assert_eq!(versions, (1..).take(rows.len()).collect::<Vec<i64>>());
    rows.into_iter().map(|row| row.message_type).collect()
}

async fn view(spec: &OrderSpec) -> Option<order_view::Model> {
    order_view::Entity::find_by_id(order_id().to_string()).one(spec.db()).await.unwrap()
}

fn customer_id() -> CustomerId {
    details(3).customer_id
}

fn awaiting_stock() -> OrderAwaitingStock {
    OrderAwaitingStock { order_id: order_id(), customer_id: customer_id(), short: products() }
}

fn reserved() -> OrderReserved {
    OrderReserved { order_id: order_id() }
}

fn confirmed() -> OrderConfirmed {
    let OrderDetails { order_id, customer_id, currency, total_price, .. } = details(3);
    OrderConfirmed { order_id, customer_id, currency, total_price }
}

fn order_cancelled() -> OrderCancelled {
    let reason = CancelReason::Customer { text: Some("changed my mind".to_owned()) };
    OrderCancelled { order_id: order_id(), customer_id: customer_id(), reason }
}

fn deadline() -> StockDeadlinePassed {
    StockDeadlinePassed { order_id: order_id() }
}

async fn the_decisions_of_one_batch_are_recorded_projected_and_published_in_order(engine: Engine) {
    let mut spec = spec(engine).await;
    let due = spec.now() + STOCK_DEADLINE;
    spec.when_batch([place(3), stock_backordered(), place(3), stock_reserved(), payment_captured()])
        .then([
            published(OrderPlaced(details(3))).version(1),
            published(awaiting_stock()).version(2),
            published(reserved()).version(3),
            published(confirmed()).version(4),
            scheduled(deadline(), due).version(2),
            cancelled(deadline()).version(3),
        ])
        .await;
    let recorded = ["order.placed.v1", "order.awaiting-stock.v1", "order.reserved.v1", "order.confirmed.v1"];
    assert_eq!(history(&spec).await, recorded);
    let view = view(&spec).await.unwrap();
    assert_eq!((view.status.as_str(), view.version, view.total_price), ("confirmed", 4, 3000));
    assert_eq!((view.customer_id.as_str(), view.currency.as_str(), view.reason), ("CUSTOMER_001", "EUR", None));
}

async fn the_same_decisions_in_several_batches_have_the_same_result(engine: Engine) {
    let mut spec = spec(engine).await;
    spec.when(place(3)).then([published(OrderPlaced(details(3))).version(1)]).await;
    let placed = view(&spec).await.unwrap();
    assert_eq!((placed.status.as_str(), placed.version), ("placed", 1));
    let due = spec.advance(Duration::from_secs(60)).now() + STOCK_DEADLINE;
    let expected = [published(awaiting_stock()).version(2), scheduled(deadline(), due).version(2)];
    spec.when(stock_backordered()).then(expected).await;
    assert_eq!(view(&spec).await.unwrap().status, "awaiting-stock");
    let expected = [published(order_cancelled()).version(3), cancelled(deadline()).version(3)];
    spec.when(cancel()).then(expected).await;
    let view = view(&spec).await.unwrap();
    assert_eq!((view.status.as_str(), view.version), ("cancelled", 3));
    assert!(view.reason.unwrap().contains("changed my mind"));
    assert_eq!(
        (view.placed_at, view.updated_at, view.items),
        (placed.placed_at, placed.placed_at + 60_000, placed.items)
    );
    spec.when_batch([stock_reserved(), cancel(), place(3)]).then([]).await;
    assert_eq!(history(&spec).await, ["order.placed.v1", "order.awaiting-stock.v1", "order.cancelled.v1"]);
}

async fn a_refusal_is_published_and_neither_recorded_nor_projected(engine: Engine) {
    let mut spec = spec(engine).await;
    let order_id = order_id();
    spec.given([place(3), stock_reserved(), payment_captured()])
        .when_batch([place(4), cancel()])
        .then([
            published(PlaceOrderRefused { order_id: order_id.clone(), reason: PlaceRefusal::IdAlreadyUsed }),
            published(CancelOrderRefused { order_id, reason: CancelRefusal::AlreadyConfirmed }),
        ])
        .await;
    assert_eq!(history(&spec).await, ["order.placed.v1", "order.reserved.v1", "order.confirmed.v1"]);
    let view = view(&spec).await.unwrap();
    assert_eq!((view.status.as_str(), view.version, view.total_price), ("confirmed", 3, 3000));
}

async fn a_cancel_before_its_order_is_recorded_and_has_no_view(engine: Engine) {
    let mut spec = spec(engine).await;
    let deferred = CancelOrderDeferred { order_id: order_id(), reason: Some("changed my mind".to_owned()) };
    spec.when(cancel()).then([published(deferred).version(1)]).await;
    assert_eq!(view(&spec).await, None);
    let expected = [published(OrderPlaced(details(3))).version(2), published(order_cancelled()).version(3)];
    spec.when(place(3)).then(expected).await;
    assert_eq!(view(&spec).await.unwrap().status, "cancelled");
}

async fn every_message_delivered_twice_has_the_same_result(engine: Engine) {
    let mut spec = spec(engine).await;
    spec.delivered_twice();
    spec.given([place(3), stock_backordered(), stock_reserved()])
        .when(payment_captured())
        .then([published(confirmed()).version(4)])
        .await;
}

/// A first delivery.
fn envelope(payload: OrderMessage) -> Envelope<OrderMessage> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: String::new(),
        source: String::new(),
        key: order_id().to_string(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload,
    }
}

#[tokio::test]
async fn when_two_instances_decide_on_one_order_the_later_one_decides_again() {
    let mut spec = spec(Engine::Postgres).await;
    spec.when(place(3)).then([published(OrderPlaced(details(3))).version(1)]).await;
    // One instance has decided to cancel and not committed yet when the other decides to reserve.
    let db = spec.db().clone();
    let tx = db.begin().await.unwrap();
    HANDLER.handle(&tx, &[&envelope(cancel())]).await.unwrap();
    let committing = async {
        let waiting =
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while db.query_one_raw(Statement::from_string(DbBackend::Postgres, waiting)).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tx.commit().await.unwrap();
    };
    // Both have appended to the same version: the later one fails, and its message is redelivered.
    tokio::join!(spec.when(stock_reserved()).then_failed("events_pkey"), committing);
    spec.when_redelivered().then([]).await;
    assert_eq!(history(&spec).await, ["order.placed.v1", "order.cancelled.v1"]);
    assert_eq!(view(&spec).await.unwrap().status, "cancelled");
}
