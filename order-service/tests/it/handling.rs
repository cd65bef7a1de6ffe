//! Batches on a database: the recorded history, the view, and the published events.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use choreography::query::Query;
use choreography::{Envelope, EventSourced, HandleError, Handler, Outgoing, database, event_store};
use choreography_test::TestPostgres;
use contracts::order::{OrderDetails, OrderItem, PlaceOrder};
use contracts::query::ListOrders;
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use order_service::entity::order_view;
use order_service::handler::OrderDecider;
use order_service::migration::Migrator;
use order_service::order::OrderMessage;
use order_service::queries;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, Statement, TransactionTrait};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{cancel, order_id, payment_captured, place, stock_backordered, stock_reserved};

/// The handler, with a deadline that no test waits for.
const HANDLER: EventSourced<OrderDecider> =
    EventSourced(OrderDecider { stock_deadline: Duration::from_secs(3600) });

/// The type of an order's timer when it is due.
const DEADLINE: &str = "order.stock-deadline.v1";

/// Runs each test on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::TestDatabase::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::TestDatabase::postgres().await).await;
            })+
        }
    };
}

on_both_databases!(
    the_decisions_of_one_batch_are_recorded_projected_and_published_in_order,
    the_same_decisions_in_several_batches_have_the_same_result,
    a_refusal_is_published_and_neither_recorded_nor_projected,
    a_cancel_before_its_order_is_recorded_and_has_no_view,
);

/// A database that is removed after the test.
struct TestDatabase {
    db: DatabaseConnection,
    directory: Option<PathBuf>,
}

impl TestDatabase {
    async fn postgres() -> Self {
        let url = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
        Self { db: database::open::<Migrator>(&url).await.unwrap(), directory: None }
    }

    async fn sqlite() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("order-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.join("test.sqlite").display());
        Self { db: database::open::<Migrator>(&url).await.unwrap(), directory: Some(directory) }
    }

    /// Handles a batch in one transaction; returns the type and version of each published message.
    async fn when(&self, batch: &[OrderMessage]) -> Vec<(&'static str, Option<i64>)> {
        let outgoing = handle(&self.db, batch).await.unwrap();
        outgoing.iter().map(|message| (message.message_type, message.aggregate_version)).collect()
    }

    /// The types of the recorded events, whose versions count from 1.
    async fn history(&self) -> Vec<String> {
        let id = order_id().to_string();
        let rows = event_store::load(&self.db, std::slice::from_ref(&id)).await.unwrap().remove(&id);
        let rows = rows.unwrap_or_default();
        let versions: Vec<_> = rows.iter().map(|row| row.version).collect();
        assert_eq!(versions, (1..).take(rows.len()).collect::<Vec<i64>>());
        rows.into_iter().map(|row| row.message_type).collect()
    }

    async fn view(&self) -> Option<order_view::Model> {
        order_view::Entity::find_by_id(order_id().to_string()).one(&self.db).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            drop(std::fs::remove_dir_all(directory));
        }
    }
}

/// A first delivery.
fn envelope(message: &OrderMessage) -> Envelope<OrderMessage> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: String::new(),
        source: String::new(),
        key: message.order_id().to_string(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        payload: message.clone(),
    }
}

async fn handle(db: &DatabaseConnection, batch: &[OrderMessage]) -> Result<Vec<Outgoing>, HandleError> {
    let batch: Vec<_> = batch.iter().map(envelope).collect();
    let tx = db.begin().await?;
    let outgoing = HANDLER.handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(outgoing)
}

async fn the_decisions_of_one_batch_are_recorded_projected_and_published_in_order(database: TestDatabase) {
    let published =
        database.when(&[place(3), stock_backordered(), place(3), stock_reserved(), payment_captured()]).await;
    let expected = [
        ("order.placed.v1", Some(1)),
        ("order.awaiting-stock.v1", Some(2)),
        ("order.reserved.v1", Some(3)),
        ("order.confirmed.v1", Some(4)),
    ];
    assert_eq!(published[..4], expected);
    assert_eq!(published[4..], [(DEADLINE, Some(2)), (DEADLINE, Some(3))], "the timer is set and cancelled");
    assert_eq!(database.history().await, expected.map(|(message_type, _)| message_type));
    let view = database.view().await.unwrap();
    assert_eq!((view.status.as_str(), view.version, view.total_price), ("confirmed", 4, 3000));
    assert_eq!((view.customer_id.as_str(), view.currency.as_str(), view.reason), ("CUSTOMER_001", "EUR", None));
}

async fn the_same_decisions_in_several_batches_have_the_same_result(database: TestDatabase) {
    assert_eq!(database.when(&[place(3)]).await, [("order.placed.v1", Some(1))]);
    let placed = database.view().await.unwrap();
    assert_eq!((placed.status.as_str(), placed.version), ("placed", 1));
    let published = database.when(&[stock_backordered()]).await;
    assert_eq!(published, [("order.awaiting-stock.v1", Some(2)), (DEADLINE, Some(2))]);
    assert_eq!(database.view().await.unwrap().status, "awaiting-stock");
    let published = database.when(&[cancel()]).await;
    assert_eq!(published, [("order.cancelled.v1", Some(3)), (DEADLINE, Some(3))]);
    let cancelled = database.view().await.unwrap();
    assert_eq!((cancelled.status.as_str(), cancelled.version), ("cancelled", 3));
    assert!(cancelled.reason.unwrap().contains("changed my mind"));
    assert_eq!((cancelled.placed_at, cancelled.items), (placed.placed_at, placed.items));
    assert_eq!(database.when(&[stock_reserved(), cancel(), place(3)]).await, []);
    assert_eq!(database.history().await, ["order.placed.v1", "order.awaiting-stock.v1", "order.cancelled.v1"]);
}

async fn a_refusal_is_published_and_neither_recorded_nor_projected(database: TestDatabase) {
    database.when(&[place(3), stock_reserved(), payment_captured()]).await;
    let view = database.view().await;
    let published = database.when(&[place(4), cancel()]).await;
    assert_eq!(published, [("order.place-refused.v1", None), ("order.cancel-refused.v1", None)]);
    assert_eq!(database.history().await, ["order.placed.v1", "order.reserved.v1", "order.confirmed.v1"]);
    assert_eq!(database.view().await, view);
}

async fn a_cancel_before_its_order_is_recorded_and_has_no_view(database: TestDatabase) {
    assert_eq!(database.when(&[cancel()]).await, [("order.cancel-deferred.v1", Some(1))]);
    assert_eq!(database.view().await, None);
    let published = database.when(&[place(3)]).await;
    assert_eq!(published, [("order.placed.v1", Some(2)), ("order.cancelled.v1", Some(3))]);
    assert_eq!(database.view().await.unwrap().status, "cancelled");
}

#[tokio::test]
async fn when_two_instances_decide_on_one_order_the_later_one_decides_again() {
    let database = TestDatabase::postgres().await;
    database.when(&[place(3)]).await;
    // One instance has decided to cancel and not committed yet when the other decides to reserve.
    let tx = database.db.begin().await.unwrap();
    let cancelling = envelope(&cancel());
    HANDLER.handle(&tx, &[&cancelling]).await.unwrap();
    let other = tokio::spawn({
        let db = database.db.clone();
        async move { handle(&db, &[stock_reserved()]).await }
    });
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.db.query_one_raw(Statement::from_string(DbBackend::Postgres, waiting)).await.unwrap().is_none() {
        assert!(!other.is_finished(), "the other instance did not wait for the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tx.commit().await.unwrap();
    assert!(other.await.unwrap().is_err(), "both instances have appended to the same version");
    assert_eq!(database.when(&[stock_reserved()]).await, []);
    assert_eq!(database.history().await, ["order.placed.v1", "order.cancelled.v1"]);
    assert_eq!(database.view().await.unwrap().status, "cancelled");
}

#[tokio::test]
async fn a_list_of_large_orders_comes_in_pages_that_fit_into_a_message() {
    let database = TestDatabase::sqlite().await;
    let items: Vec<_> = (0..100)
        .map(|n| OrderItem {
            product_id: ProductId::parse(format!("{n:0>64}")).unwrap(),
            quantity: Quantity::parse(1_000_000).unwrap(),
            unit_price: Amount::parse(1_000_000).unwrap(),
        })
        .collect();
    let orders: Vec<_> = (0..200)
        .map(|n| {
            let order_id = OrderId::parse(format!("ORDER_{n}")).unwrap();
            let customer = CustomerId::parse("CUSTOMER_001").unwrap();
            let details = OrderDetails::new(order_id, customer, Currency::EUR, items.clone(), None).unwrap();
            OrderMessage::Place(PlaceOrder(details))
        })
        .collect();
    database.when(&orders).await;
    let (mut seen, mut cursor) = (BTreeSet::new(), None);
    loop {
        let body = serde_json::to_vec(&ListOrders { limit: Some(200), cursor, ..ListOrders::default() }).unwrap();
        let page =
            queries::list(database.db.clone(), Query { key: String::new(), body: body.into() }).await.unwrap();
        assert!(serde_json::to_vec(&page).unwrap().len() < 1_000_000);
        seen.extend(page.items.into_iter().map(|order| order.order_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 200);
}
