//! A database for a test, and reads of its tables.

pub(crate) use choreography_test::Engine;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use choreography::{Envelope, HandleError, Handler, Publish as _, database, inbox};
use choreography_test::postgres::TestPostgres;
use contracts::declaration::NotifiableEvent;
use contracts::declaration::NotificationMessage;
use notification_service::entity::notification;
use notification_service::handler::NotificationHandler;
use notification_service::migration::Migrator;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, QueryOrder, TransactionTrait};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

/// A folder that is removed after the test.
pub(crate) struct TestFolder(pub(crate) PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("notification-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A database that is removed after the test, and a folder.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) db: DatabaseConnection,
    pub(crate) folder: TestFolder,
}

impl TestDatabase {
    pub(crate) async fn new(engine: Engine) -> Self {
        let folder = TestFolder::new();
        let url = match engine {
            Engine::Postgres => TestPostgres::shared().await.unwrap().create_database().await.unwrap(),
            Engine::Sqlite => format!("sqlite://{}?mode=rwc", folder.0.join("test.sqlite").display()),
        };
        let db = open(&url).await;
        Self { url, db, folder }
    }
}

/// Connects as an instance of the service does.
pub(crate) async fn open(url: &str) -> DatabaseConnection {
    database::open::<Migrator>(url).await.unwrap()
}

/// A message with a new id.
pub(crate) fn envelope(payload: NotificationMessage) -> Envelope<NotificationMessage> {
    Envelope {
        id: Uuid::now_v7(),
        message_type: payload.message_type().to_owned(),
        source: String::new(),
        key: String::new(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload,
    }
}

pub(crate) fn notify(notified: NotifiableEvent) -> Envelope<NotificationMessage> {
    envelope(NotificationMessage::Notify(notified))
}

/// Handles a batch in one transaction without the inbox.
pub(crate) async fn handle_again(
    db: &DatabaseConnection,
    batch: &[Envelope<NotificationMessage>],
) -> Result<(), HandleError> {
    let tx = db.begin().await?;
    let outgoing =
        NotificationHandler::new(watch::Sender::new(())).handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    assert!(outgoing.is_empty(), "the service publishes no events");
    Ok(tx.commit().await?)
}

/// Handles a batch of first deliveries in one transaction that begins with the inbox, as the library does.
pub(crate) async fn handle(
    db: &DatabaseConnection,
    batch: &[Envelope<NotificationMessage>],
) -> Result<(), HandleError> {
    let tx = db.begin().await?;
    for message in batch {
        let row = inbox::entity::ActiveModel { message_id: Set(message.id), received_at: Set(0) };
        row.insert(&tx).await?;
    }
    NotificationHandler::new(watch::Sender::new(())).handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    Ok(tx.commit().await?)
}

/// Handles messages, one batch each.
pub(crate) async fn handle_each(db: &DatabaseConnection, messages: Vec<NotificationMessage>) {
    for message in messages {
        handle(db, &[envelope(message)]).await.unwrap();
    }
}

/// Reads all notifications in the order of their sequences.
pub(crate) async fn all(db: &DatabaseConnection) -> Vec<notification::Model> {
    notification::Entity::find().order_by_asc(notification::Column::Sequence).all(db).await.unwrap()
}

/// The state of a notification's mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mail {
    Waits,
    Due,
    Delivered,
    Failed,
}

pub(crate) fn mail(row: &notification::Model) -> Mail {
    match (row.next_attempt_at, row.delivered_at, row.failed_at) {
        (None, None, None) => Mail::Waits,
        (Some(_), None, None) => Mail::Due,
        (None, Some(_), None) => Mail::Delivered,
        (None, None, Some(_)) => Mail::Failed,
        wrong => panic!("{wrong:?}"),
    }
}
