//! The interface that a service implements: one handler for a batch of first deliveries.

use std::future::Future;
use std::pin::Pin;

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use crate::state::fault;
use crate::wire::encoding::EncodeError;
use crate::wire::envelope::{Envelope, Outgoing};
use crate::wire::message::{DecodeError, MessageInfo, Messages, UnknownVersion};

/// Handles the messages of a service.
pub trait Handler: Send + Sync + 'static {
    /// The closed set of messages the service understands.
    type Message: Messages + Send + Sync + 'static;

    /// Handles a batch: load, decide, save.
    ///
    /// The batch contains first deliveries only, in the order of arrival. Changes made through `tx` commit together
    /// with the inbox rows of the batch and the outbox rows of the returned messages, or not at all.
    ///
    /// The handler must make no network call: the transaction is open.
    ///
    /// # Errors
    ///
    /// [`HandleError`]. A failed batch is halved until the message at fault is alone, so that one message's error
    /// affects no other. A database error among the causes is an outage unless it is a data error: the whole batch is
    /// retried and uses up no attempt. So pass database errors on, wrapped or not, and not as text. After 15 s the
    /// handler is dropped, and the batch fails. An outcome that a customer can cause (out of stock, id already used) is
    /// an event and not an error.
    fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<Self::Message>],
    ) -> impl Future<Output = Result<Vec<Outgoing>, HandleError>> + Send;

    /// Returns the status of a business id: its state, and the reason if it is blocked. `None` if the service does not
    /// know the id, or reports no status.
    ///
    /// # Errors
    ///
    /// If the database does not respond.
    fn status(
        &self,
        _db: &DatabaseConnection,
        _key: &str,
    ) -> impl Future<Output = anyhow::Result<Option<AggregateStatus>>> + Send {
        async { Ok(None) }
    }

    /// Called after a batch has committed, for example to wake a worker. A crash may prevent the call, so required work
    /// does not belong here.
    fn committed(&self) {}
}

/// The status of aggregates, without the type of the handler that reports it.
pub(crate) trait ReportStatus: Send + Sync {
    /// As [`Handler::status`].
    fn report_status<'a>(&'a self, db: &'a DatabaseConnection, key: &'a str) -> StatusReport<'a>;
}

/// The future of [`ReportStatus::report_status`].
pub(crate) type StatusReport<'a> =
    Pin<Box<dyn Future<Output = anyhow::Result<Option<AggregateStatus>>> + Send + 'a>>;

impl<H: Handler> ReportStatus for H {
    fn report_status<'a>(&'a self, db: &'a DatabaseConnection, key: &'a str) -> StatusReport<'a> {
        Box::pin(self.status(db, key))
    }
}

/// No messages: the set of a service that only has projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMessage {}

impl Messages for NoMessage {
    const MESSAGES: &'static [MessageInfo] = &[];

    fn decode(message_type: &str, _body: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError::UnknownType(message_type.to_owned()))
    }
}

/// The handler of a service that only has projections.
impl Handler for () {
    type Message = NoMessage;

    async fn handle(
        &self,
        _tx: &DatabaseTransaction,
        _batch: &[&Envelope<NoMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        Ok(Vec::new())
    }
}

/// What to do with a message that could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may succeed later: redeliver it with a growing delay, and dead-letter it after the maximum number of
    /// attempts.
    #[error("{}", fault::text(.0))]
    Retry(anyhow::Error),
    /// The history of its aggregate has an event of a version that this instance does not know: redeliver it, until an
    /// upgraded instance handles it.
    #[error(transparent)]
    UnknownVersion(UnknownVersion),
    /// It can never succeed: dead-letter it.
    #[error("{0}")]
    Reject(String),
}

impl From<DbErr> for HandleError {
    fn from(error: DbErr) -> Self {
        Self::Retry(error.into())
    }
}

impl From<EncodeError> for HandleError {
    fn from(error: EncodeError) -> Self {
        Self::Retry(error.into())
    }
}

/// The status of an aggregate in a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AggregateStatus {
    /// The state, as one line, such as `awaiting stock`.
    pub state: String,
    /// Since when, RFC 3339, if known.
    pub since: Option<String>,
    /// What the service itself is blocked on, if anything: a third party, a time, a scarce resource. Other services'
    /// missing messages are not reported here.
    pub blocked_on: Option<String>,
}
