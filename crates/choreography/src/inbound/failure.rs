//! Why a transaction did not commit.

use std::time::Duration;

use sea_orm::{DatabaseTransaction, DbErr};

use crate::broker::limits::TooLarge;
use crate::inbound::handler::HandleError;
use crate::state::database::answered;
use crate::state::fault::{self, Fault};

/// The number of immediate retries after a deadlock; one more is reported as an outage.
pub(crate) const MAX_CONTENTIONS: u32 = 5;

/// Why a transaction did not commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A message is at fault.
    #[error(transparent)]
    Message(HandleError),
    /// The handler did not return in time; the state of its session is unknown.
    #[error("the handler has not returned for {} s", .0.as_secs())]
    Timeout(Duration),
    /// A conflict with another transaction.
    #[error("{}", fault::text(.0))]
    Contention(anyhow::Error),
    /// The database is at fault.
    #[error("{}", fault::text(.0))]
    Outage(anyhow::Error),
}

impl Failure {
    fn of(error: anyhow::Error, fault: Option<Fault>) -> Self {
        match fault {
            None | Some(Fault::Message) => Self::Message(HandleError::Retry(error)),
            Some(Fault::Contention) => Self::Contention(error),
            Some(Fault::Outage) => Self::Outage(error),
        }
    }

    /// Rolls the transaction back if its session is sound. Otherwise drops the transaction, and its connection with it.
    pub(crate) async fn roll_back(self, tx: DatabaseTransaction) -> Self {
        if !matches!(self, Self::Message(_)) {
            return self;
        }
        match answered::<_, DbErr>(tx.rollback()).await {
            Ok(()) => self,
            Err(error) => error.into(),
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        let fault = fault::of(&error);
        Self::of(error.into(), Some(fault))
    }
}

impl From<HandleError> for Failure {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Retry(error) => {
                let fault = fault::of_any(&error);
                Self::of(error, fault)
            }
            other @ (HandleError::UnknownVersion(_) | HandleError::Reject(_)) => Self::Message(other),
        }
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::Message(HandleError::Reject(error.to_string()))
    }
}
