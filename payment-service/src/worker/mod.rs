//! What the service does beside handling messages.
//!
//! [`Asking`] asks the payment provider, [`Waiting`] looks after payments whose account is not known. Both find what
//! there is to do in the table `payment`, so that a crash loses nothing, and are woken by what the handler commits.

mod asking;
mod waiting;

pub use asking::Asking;
pub use waiting::Waiting;

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

/// Begins a transaction that will write: on SQLite it is the writer from the start, because a transaction that reads
/// first and then finds that another has written could not go on.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}
