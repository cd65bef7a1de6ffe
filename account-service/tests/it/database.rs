//! A database for a test, and reads of its tables.

pub(crate) use choreography_test::Engine;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use account_service::account::Account;
use account_service::entity::account;
use account_service::handler::AccountHandler;
use account_service::migration::Migrator;
use choreography::{Envelope, HandleError, Handler, Outgoing, Publish as _, database, inbox};
use choreography_test::postgres::TestPostgres;
use contracts::account::AccountCommand;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, TransactionTrait};
use time::OffsetDateTime;
use uuid::Uuid;

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
                let directory = std::env::temp_dir().join(format!("account-{}-{count}", std::process::id()));
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

/// A first delivery.
pub(crate) fn envelope(command: &AccountCommand) -> Envelope<AccountCommand> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: command.message_type().to_owned(),
        source: String::new(),
        key: command.key().to_owned(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: command.clone(),
    }
}

/// Handles a batch in one transaction that begins with the inbox, as the library does.
pub(crate) async fn handle(
    db: &DatabaseConnection,
    batch: &[Envelope<AccountCommand>],
) -> Result<Vec<Outgoing>, HandleError> {
    let tx = db.begin().await?;
    for message in batch {
        let row = inbox::entity::ActiveModel { message_id: Set(message.id), received_at: Set(0) };
        row.insert(&tx).await?;
    }
    let outgoing = AccountHandler.handle(&tx, &batch.iter().collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(outgoing)
}

/// Handles commands in one batch.
pub(crate) async fn handle_all(db: &DatabaseConnection, commands: &[AccountCommand]) -> Vec<Outgoing> {
    handle(db, &commands.iter().map(envelope).collect::<Vec<_>>()).await.unwrap()
}

/// Reads all accounts.
pub(crate) async fn whole(db: &DatabaseConnection) -> BTreeMap<String, Account> {
    let rows = account::Entity::find().all(db).await.unwrap();
    let accounts = rows.into_iter().map(|row| {
        assert_eq!(row.deleted, row.details.is_none());
        let version = row.version;
        let account = match row.details {
            Some(details) => Account::Open { version, details: serde_json::from_str(&details).unwrap() },
            None => Account::Deleted { version },
        };
        (row.customer_id, account)
    });
    accounts.collect()
}
