//! Why a projection stops for a while, or until an operator starts it.

use sea_orm::DbErr;

use crate::inbound::failure::Failure;

/// Why a projection stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// It was paused, rebuilt, or taken over by another instance; or its stream may have changed.
    #[error("the projection, or its stream, was changed meanwhile")]
    Fenced,
    /// The database, the broker, or an owning service is unavailable.
    #[error("{0}")]
    Outage(String),
    /// An event cannot be applied.
    #[error("{0}")]
    Failed(String),
}

impl From<DbErr> for Stop {
    fn from(error: DbErr) -> Self {
        Failure::from(error).into()
    }
}

/// For statements of the library: no event is at fault.
impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Outage(failure.to_string())
    }
}
