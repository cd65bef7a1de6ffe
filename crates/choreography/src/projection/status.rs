//! The status of projections, as readers and operators see it.

use sea_orm::{ConnectionTrait, DbErr};
use serde::{Deserialize, Serialize};

use crate::broker::clock;
use crate::inbound::query::QueryError;
use crate::projection::table::entity::Model;
use crate::projection::table::{self, State};
use crate::telemetry::metrics::figure;
use crate::wire::envelope::{from_unix_millis, rfc3339, unix_millis};

/// The status of a version of a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// Its state.
    pub state: State,
    /// Whether it is the version to read.
    pub is_active: bool,
    /// The last applied sequence of the stream. During a backfill: the sequence after which the stream is read.
    pub position: u64,
    /// The number of messages of the stream that are not applied yet, at the last reading.
    pub lag_messages: u64,
    /// The age of what it contains: the seconds since `as_of`; `None` during a backfill.
    pub lag_seconds: Option<f64>,
    /// Up to when it contains all messages, RFC 3339; `None` during a backfill.
    pub as_of: Option<String>,
    /// The number of recorded events that a backfill reads, as counted at its beginning.
    pub history_total: u64,
    /// The number of recorded events that the backfill has read.
    pub history_read: u64,
    /// Messages per second, recently.
    pub rate: f64,
    /// The seconds until it has caught up, at that rate; `None` if it is unknown.
    pub remaining_seconds: Option<f64>,
    /// Messages applied since it was built.
    pub applied: u64,
    /// Messages that came again and changed nothing.
    pub duplicates: u64,
    /// Events that were missing in the stream and read from an event store.
    pub repaired: u64,
    /// Why it failed.
    pub detail: Option<String>,
}

impl TryFrom<Model> for Status {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let state = row.state()?;
        let history = if row.backfill.is_some() { (row.history_total - row.history_read).max(0) } else { 0 };
        let runs = matches!(state, State::CatchingUp | State::Live);
        let remaining = figure((history + row.lag).unsigned_abs());
        let age = |as_of: i64| figure((unix_millis(clock::now()) - as_of).max(0).unsigned_abs());
        Ok(Self {
            state,
            name: row.name,
            version: u32::try_from(row.version).unwrap_or_default(),
            is_active: row.is_active,
            position: row.position.unsigned_abs(),
            lag_messages: row.lag.unsigned_abs(),
            lag_seconds: row.as_of.map(|as_of| age(as_of) / 1000.0),
            as_of: row.as_of.map(|as_of| rfc3339(from_unix_millis(as_of))),
            history_total: row.history_total.unsigned_abs(),
            history_read: row.history_read.unsigned_abs(),
            rate: row.rate,
            remaining_seconds: (runs && row.rate > 0.0).then(|| remaining / row.rate),
            applied: row.applied.unsigned_abs(),
            duplicates: row.duplicates.unsigned_abs(),
            repaired: row.repaired.unsigned_abs(),
            detail: row.detail,
        })
    }
}

/// Returns the active version of a projection, the one to read; `None` before the first start. A query reads it before the
/// rows, which are then at least as new.
///
/// # Errors
///
/// The database's error.
pub async fn active(connection: &impl ConnectionTrait, name: &str) -> Result<Option<Status>, DbErr> {
    table::active(connection, name).await?.map(Status::try_from).transpose()
}

/// Returns up to when the active version of a projection contains all messages, RFC 3339; `None` during a backfill. For a
/// query, which reads it before the rows.
///
/// # Errors
///
/// [`QueryError::Unavailable`] before the first start, and if the active version is dropped.
pub async fn as_of(connection: &impl ConnectionTrait, name: &str) -> Result<Option<String>, QueryError> {
    let status = active(connection, name).await?.filter(|status| status.state != State::Dropped);
    let unavailable = || QueryError::Unavailable(anyhow::anyhow!("the projection {name} has no tables yet"));
    Ok(status.ok_or_else(unavailable)?.as_of)
}
