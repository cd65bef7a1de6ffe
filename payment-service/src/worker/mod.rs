//! The background workers.
//!
//! [`CaptureWorker`] calls the payment provider, [`MissingAccountWorker`] decides on payments without a copy of the
//! account, and [`Reconciling`] compares the provider's ledger. The first two read their work from the table
//! `payments`, so that a crash loses nothing, and each commit of the handler wakes them.

mod capture;
mod missing_account;
mod reconciling;

pub use capture::CaptureWorker;
pub use missing_account::MissingAccountWorker;
pub use reconciling::Reconciling;

use std::time::Duration;

use choreography::envelope::unix_millis;
use sea_orm::sea_query::{Condition, ExprTrait};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use time::OffsetDateTime;

use crate::entity::payment::due;

/// The largest difference between the clocks of two instances that does not shorten a wait.
const SKEW: Duration = Duration::from_secs(60);

/// The condition that a payment is due. A payment whose wait exceeds the longest one is due, too: a clock that was
/// ahead wrote it.
fn is_due(now: OffsetDateTime, max_wait: Duration) -> Condition {
    Condition::any().add(due().lte(unix_millis(now))).add(due().gt(unix_millis(now + max_wait + SKEW)))
}

/// Begins a write transaction. On SQLite it takes the write lock at once: a transaction that first reads cannot become
/// the writer after another one has written.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}
