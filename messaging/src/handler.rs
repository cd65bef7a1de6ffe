//! What a service writes: one handler over a batch of first deliveries.

use std::future::Future;

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};

use crate::envelope::{Decode, Envelope, Outgoing};
use crate::fault;
use crate::trace::AggregateStatus;

/// Handles the messages of a service.
pub trait Handler: Send + Sync + 'static {
    /// The closed set of messages the service understands.
    type Message: Decode + Send + Sync + 'static;

    /// Handles a batch: load, decide, save.
    ///
    /// The batch holds first deliveries only, in the order of arrival. What is written through `tx` commits together
    /// with the inbox rows of the batch and the outbox rows of what is returned, or not at all.
    ///
    /// No network call belongs in here: the transaction is open.
    ///
    /// # Errors
    ///
    /// [`HandleError`]. A batch that fails is halved until the message at fault is alone, so the error of one message harms
    /// no other. A database error among the causes that does not speak of data is an outage: the batch is tried again
    /// whole and uses up no attempt. So pass database errors on, wrapped as you like, and not as text. After 15 s the
    /// handler is dropped, and the batch fails. What a customer may bring about (out of stock, id already used) is an event and not an error.
    fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<Self::Message>],
    ) -> impl Future<Output = Result<Vec<Outgoing>, HandleError>> + Send;

    /// Says where the matter with a business id stands, for whoever asks why it does not go on. `None` where the
    /// service knows nothing of it, or does not tell.
    ///
    /// # Errors
    ///
    /// Where the database does not answer.
    fn status(
        &self,
        _db: &DatabaseConnection,
        _key: &str,
    ) -> impl Future<Output = anyhow::Result<Option<AggregateStatus>>> + Send {
        async { Ok(None) }
    }

    /// Called after a batch has committed: to wake a worker, perhaps. Nothing that must happen belongs in here, for a
    /// crash may come in between.
    fn committed(&self) {}
}

/// What shall become of a message that could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may succeed later: deliver it again after a growing delay, and give up after a number of attempts.
    #[error("{}", fault::text(.0))]
    Retry(anyhow::Error),
    /// It can never succeed: make it a dead letter.
    #[error("{0}")]
    Reject(String),
}

impl From<DbErr> for HandleError {
    fn from(error: DbErr) -> Self {
        Self::Retry(error.into())
    }
}
