//! What the service does beside handling messages.
//!
//! [`CaptureWorker`] asks the payment provider, [`MissingAccountWorker`] looks after payments whose account is not known, and
//! [`Reconciling`] compares the provider's ledger. The first two find what
//! there is to do in the table `payments`, so that a crash loses nothing, and are woken by what the handler commits.

mod capture;
mod missing_account;
mod reconciling;

pub use capture::CaptureWorker;
pub use missing_account::MissingAccountWorker;
pub use reconciling::Reconciling;

use std::time::Duration;

use messaging::envelope::unix_millis;
use sea_orm::sea_query::{Condition, ExprTrait};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use time::OffsetDateTime;

use crate::entity::payment::due;

/// How far apart the clocks of two instances may be without one of them taking the other's waits for mistakes.
const SKEW: Duration = Duration::from_secs(60);

/// The payments whose time has come. So has that of a payment that would wait for longer than any wait lasts: a clock
/// that was ahead has written it.
fn time_has_come(now: OffsetDateTime, longest_wait: Duration) -> Condition {
    Condition::any().add(due().lte(unix_millis(now))).add(due().gt(unix_millis(now + longest_wait + SKEW)))
}

/// Begins a transaction that will write: on SQLite it is the writer from the start, because a transaction that reads
/// first and then finds that another has written could not go on.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}
