//! A database for a test, and reads of its tables.

pub(crate) use choreography_test::Engine;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use choreography::{Envelope, HandleError, Handler, Outgoing, database, inbox};
use choreography_test::postgres::TestPostgres;
use payment_service::entity::{account_copy, exposure, payment};
use payment_service::handler::PaymentHandler;
use payment_service::migration::Migrator;
use payment_service::payment::PaymentMessage;
use payment_service::reconciliation::Overdue;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, QueryOrder, TransactionTrait};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::given::{NOW, POLICY, flow};

/// A database that is removed after the test.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) db: DatabaseConnection,
    directory: Option<PathBuf>,
}

impl TestDatabase {
    pub(crate) async fn new(engine: Engine) -> Self {
        let (url, directory) = match engine {
            Engine::Postgres => (TestPostgres::shared().await.unwrap().create_database().await.unwrap(), None),
            Engine::Sqlite => {
                let directory = scratch("payment");
                (format!("sqlite://{}?mode=rwc", directory.join("test.sqlite").display()), Some(directory))
            }
        };
        let db = open(&url).await;
        Self { url, db, directory }
    }
}

/// Creates a new folder.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("{name}-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Connects as an instance of the service does.
pub(crate) async fn open(url: &str) -> DatabaseConnection {
    database::open::<Migrator>(url).await.unwrap()
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            drop(std::fs::remove_dir_all(directory));
        }
    }
}

/// A first delivery.
pub(crate) fn envelope(message: &PaymentMessage) -> Envelope<PaymentMessage> {
    Envelope {
        id: Uuid::now_v7(),
        message_type: String::new(),
        source: String::new(),
        key: String::new(),
        time: NOW,
        correlation_id: flow(message),
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: message.clone(),
    }
}

/// The handler, with a clock.
pub(crate) fn handler(clock: fn() -> OffsetDateTime) -> PaymentHandler {
    let overdue = Overdue(Duration::from_secs(120));
    PaymentHandler { policy: POLICY, clock, wake: watch::channel(()).0, overdue }
}

/// Handles a batch in one transaction that begins with the inbox, as the library does.
pub(crate) async fn handle(
    db: &DatabaseConnection,
    batch: &[Envelope<PaymentMessage>],
) -> Result<Vec<Outgoing>, HandleError> {
    let handler = handler(|| NOW);
    let tx = db.begin().await?;
    for message in batch {
        let row = inbox::entity::ActiveModel { message_id: Set(message.id), received_at: Set(0) };
        row.insert(&tx).await?;
    }
    let outgoing = handler.handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(outgoing)
}

/// All payments, by order.
pub(crate) async fn payments(db: &DatabaseConnection) -> Vec<payment::Model> {
    payment::Entity::find().order_by_asc(payment::Column::OrderId).all(db).await.unwrap()
}

/// All copies of accounts, by customer.
pub(crate) async fn copies(db: &DatabaseConnection) -> Vec<account_copy::Model> {
    account_copy::Entity::find().order_by_asc(account_copy::Column::CustomerId).all(db).await.unwrap()
}

/// All exposures, by customer.
pub(crate) async fn exposures(db: &DatabaseConnection) -> Vec<(String, i64)> {
    let rows = exposure::Entity::find().order_by_asc(exposure::Column::CustomerId).all(db).await.unwrap();
    rows.into_iter().map(|row| (row.customer_id, row.amount)).collect()
}
