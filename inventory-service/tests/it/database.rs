//! A database for a test, and reads of its tables.

pub(crate) use choreography_test::Engine;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use choreography::{Envelope, HandleError, Handler, Outgoing, database, inbox};
use choreography_test::postgres::TestPostgres;
use contracts::{OrderId, ProductId};
use inventory_service::entity::reservation::Status;
use inventory_service::entity::{backorder_line, product, reservation, stock_history};
use inventory_service::handler::InventoryHandler;
use inventory_service::migration::Migrator;
use inventory_service::stock::{Place, Product, Reservation, ReservationState, Stock, StockMessage};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, TransactionTrait};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::given::{flow, key};

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
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let directory = std::env::temp_dir().join(format!("inventory-{}-{count}", std::process::id()));
                std::fs::create_dir_all(&directory).unwrap();
                (format!("sqlite://{}?mode=rwc", directory.join("test.sqlite").display()), Some(directory))
            }
        };
        let db = open(&url).await;
        Self { url, db, directory }
    }
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

/// Empties the tables and inserts the products of a stock without reservations.
pub(crate) async fn begin_with(db: &DatabaseConnection, stock: &Stock) {
    product::Entity::delete_many().exec(db).await.unwrap();
    reservation::Entity::delete_many().exec(db).await.unwrap();
    backorder_line::Entity::delete_many().exec(db).await.unwrap();
    stock_history::Entity::delete_many().exec(db).await.unwrap();
    for (id, product) in &stock.products {
        let row = product::ActiveModel {
            product_id: Set(id.to_string()),
            available: Set(product.available.cast_signed()),
            reserved: Set(0),
            backordered: Set(0),
            last_position: Set(0),
            version: Set(0),
            changed_at: Set(0),
        };
        row.insert(db).await.unwrap();
    }
}

/// A first delivery.
pub(crate) fn envelope(message: &StockMessage) -> Envelope<StockMessage> {
    Envelope {
        id: Uuid::now_v7(),
        message_type: String::new(),
        source: String::new(),
        key: key(message).to_owned(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: flow(key(message)),
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: message.clone(),
    }
}

/// Handles a batch in one transaction that begins with the inbox, as the library does.
pub(crate) async fn handle(
    db: &DatabaseConnection,
    batch: &[Envelope<StockMessage>],
) -> Result<Vec<Outgoing>, HandleError> {
    let tx = db.begin().await?;
    for message in batch {
        let row = inbox::entity::ActiveModel { message_id: Set(message.id), received_at: Set(0) };
        row.insert(&tx).await?;
    }
    let outgoing = InventoryHandler.handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(outgoing)
}

/// Reads all of the stock.
pub(crate) async fn whole(db: &DatabaseConnection) -> Stock {
    let mut stock = Stock::default();
    for row in product::Entity::find().all(db).await.unwrap() {
        let product = Product {
            available: row.available.try_into().unwrap(),
            reserved: row.reserved.try_into().unwrap(),
            backordered: row.backordered.try_into().unwrap(),
            last_position: row.last_position,
            version: row.version,
            // The rules do not set it.
            changed_at: 0,
        };
        stock.products.insert(ProductId::parse(row.product_id).unwrap(), product);
    }
    for row in reservation::Entity::find().all(db).await.unwrap() {
        let state = match (row.status, row.position) {
            (Status::Waiting, Some(position)) => ReservationState::Waiting { position },
            (Status::Reserved, None) => ReservationState::Reserved,
            (Status::Refused, None) => ReservationState::Refused,
            (Status::Released, None) => ReservationState::Released,
            (Status::Cancelled, None) => ReservationState::Cancelled,
            wrong => panic!("{} is {wrong:?}", row.order_id),
        };
        let lines = serde_json::from_str(&row.lines).unwrap();
        let reservation = Reservation { state, lines, correlation_id: row.correlation_id, version: row.version };
        stock.reservations.insert(OrderId::parse(row.order_id).unwrap(), reservation);
    }
    for row in backorder_line::Entity::find().all(db).await.unwrap() {
        let place = Place { position: row.position, order_id: OrderId::parse(row.order_id).unwrap() };
        let queue = stock.queues.entry(ProductId::parse(row.product_id).unwrap()).or_default();
        queue.insert(place, row.quantity.try_into().unwrap());
    }
    stock
}
