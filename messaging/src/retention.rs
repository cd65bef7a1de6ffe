//! How long inbox and outbox rows are kept, and the check that it is long enough.
//!
//! The inbox is what makes a second delivery harmless. A stream can deliver a message for as long as it keeps it, so
//! a row must be kept at least that long: the *dedup horizon*. A service refuses to start otherwise.

use std::time::Duration;

use async_nats::jetstream;
use sea_orm::DatabaseConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::envelope::unix_millis;
use crate::{inbox, mishap, outbox};

/// How often old rows are deleted.
const EVERY: Duration = Duration::from_secs(60);
/// Rows deleted in one statement, so that no delete holds the write lock for long.
const AT_A_TIME: u64 = 1000;

/// Why a service may not start to consume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HorizonError {
    /// A stream cannot be looked at, yet.
    #[error("stream {stream} cannot be read ({reason}); is nats-server up, and has the topology been provisioned?")]
    Unreadable { stream: String, reason: String },
    /// The inbox forgets too early.
    #[error("{0}")]
    TooShort(String),
}

/// Refuses a retention shorter than a stream keeps its messages. Returns what there is to know of the streams.
///
/// # Errors
///
/// [`HorizonError::TooShort`] where it is shorter or a stream keeps messages for ever; it says what to change.
pub(crate) async fn check_dedup_horizon(
    js: &jetstream::Context,
    streams: &[&'static str],
    retention: Duration,
) -> Result<Vec<jetstream::stream::Info>, HorizonError> {
    let mut infos = Vec::with_capacity(streams.len());
    for name in streams {
        let stream = js
            .get_stream(name)
            .await
            .map_err(|error| HorizonError::Unreadable { stream: (*name).to_owned(), reason: error.to_string() })?;
        let info = stream.cached_info().clone();
        let max_age = info.config.max_age;
        if max_age.is_zero() {
            return Err(HorizonError::TooShort(format!(
                "stream {name} keeps messages for ever, and the inbox does not: give the stream a max_age"
            )));
        }
        if max_age > retention {
            return Err(HorizonError::TooShort(format!(
                "stream {name} keeps messages for {} s and the inbox remembers them for {} s only, so that an old \
                 message could be handled twice: set --retention-seconds (RETENTION_SECONDS) to {} or more",
                max_age.as_secs(),
                retention.as_secs(),
                max_age.as_secs()
            )));
        }
        infos.push(info);
    }
    Ok(infos)
}

/// Deletes rows older than the retention until shutdown.
pub(crate) async fn run(db: DatabaseConnection, retention: Duration, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => match prune(&db, retention, &shutdown).await {
                Ok(0) => {}
                Ok(rows) => tracing::debug!(rows, "deleted old inbox and outbox rows"),
                Err(error) => tracing::warn!(%error, "could not delete old inbox and outbox rows; will try again"),
            }
        }
    }
}

/// Deletes what is older than the retention, in small statements; returns how many rows.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn prune(
    db: &DatabaseConnection,
    retention: Duration,
    shutdown: &CancellationToken,
) -> Result<u64, sea_orm::DbErr> {
    let before = OffsetDateTime::now_utc() - retention;
    let mut total = 0;
    loop {
        let deleted = inbox::prune(db, unix_millis(before), AT_A_TIME).await?
            + outbox::prune(db, before, AT_A_TIME).await?
            + mishap::prune(db, unix_millis(before), AT_A_TIME).await?;
        total += deleted;
        if deleted == 0 || shutdown.is_cancelled() {
            return Ok(total);
        }
    }
}
