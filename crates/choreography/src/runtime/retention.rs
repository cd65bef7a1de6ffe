//! The retention of inbox and outbox rows, and the check that it is long enough.
//!
//! The inbox makes a duplicate delivery harmless. A stream can deliver a message for as long as it keeps it, so an
//! inbox row must be kept at least that long: the *dedup horizon*. Otherwise a service refuses to start. The horizon is
//! measured by the clock of the streams, nats-server's: a wrong local clock deletes nothing (ADR 24).

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use sea_orm::DatabaseConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::broker::clock::{self, Reading};
use crate::inbound::inbox;
use crate::outbound::outbox_pending;
use crate::state::database::answered;
use crate::state::delivery_issue;
use crate::wire::envelope::unix_millis;

/// The maximum number of rows per delete statement, so that no delete holds the write lock for long.
const MAX_DELETED: u64 = 1000;
/// The maximum number of statements per table and cycle, so that a long backlog is deleted in steps.
const MAX_BATCHES: u32 = 200;

/// The minimum of [`late_after`]: rows of a merely slow relay are not marked as republished.
const MIN_LATE: Duration = Duration::from_secs(60);

/// Why a service may not start to consume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HorizonError {
    /// A stream's info cannot be read, yet.
    #[error("stream {stream} cannot be read ({reason}); is nats-server up, and has the topology been provisioned?")]
    Unreadable { stream: String, reason: String },
    /// The retention is too short.
    #[error("{0}")]
    TooShort(String),
}

/// Refuses a retention shorter than the streams' maximum age. Returns the streams' infos.
///
/// # Errors
///
/// [`HorizonError::TooShort`] if it is shorter, or if a stream keeps messages forever; the error has the remedy.
pub(crate) async fn check_dedup_horizon(
    js: &jetstream::Context,
    streams: &[String],
    retention: Duration,
) -> Result<Vec<jetstream::stream::Info>, HorizonError> {
    let mut infos = Vec::with_capacity(streams.len());
    for name in streams {
        let unreadable = |reason: String| HorizonError::Unreadable { stream: name.clone(), reason };
        // Before anything is handled or written: all later times follow the server's clock.
        clock::read(js, name).await.map_err(|error| unreadable(error.to_string()))?;
        let stream = js.get_stream(name).await.map_err(|error| unreadable(error.to_string()))?;
        let info = stream.cached_info().clone();
        let max_age = info.config.max_age;
        if max_age.is_zero() {
            return Err(HorizonError::TooShort(format!(
                "stream {name} keeps messages forever, and the inbox does not: give the stream a max_age"
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

/// Returns the age up to which a message may be published as new: every inbox still remembers an earlier copy on the
/// last day that a stream delivers this one.
pub(crate) fn late_after(streams: &[jetstream::stream::Info], retention: Duration) -> Duration {
    let max_age = streams.iter().map(|stream| stream.config.max_age).max().unwrap_or_default();
    retention.saturating_sub(max_age).max(MIN_LATE)
}

/// Deletes rows that no stream can deliver any more, until shutdown.
pub(crate) struct Cleanup {
    pub(crate) db: DatabaseConnection,
    pub(crate) js: jetstream::Context,
    /// The streams that the service consumes.
    pub(crate) streams: Arc<[String]>,
    pub(crate) retention: Duration,
    /// The interval of the cleanup, and its delay after the start.
    pub(crate) interval: Duration,
    pub(crate) shutdown: CancellationToken,
}

impl Cleanup {
    pub(crate) async fn run(self) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
            match self.cycle().await {
                Ok(rows) => {
                    if rows > 0 {
                        tracing::debug!(rows, "deleted old inbox and outbox rows");
                    }
                    if std::mem::take(&mut failing) {
                        tracing::info!("old inbox and outbox rows are deleted again");
                    }
                }
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(%error, "old inbox and outbox rows are kept; the service tries again every cycle");
                }
                Err(_) => {}
            }
        }
    }

    async fn cycle(&self) -> anyhow::Result<u64> {
        let mut readings = Vec::with_capacity(self.streams.len());
        for stream in self.streams.iter() {
            readings.push(clock::read(&self.js, stream).await?);
        }
        let Some(before) = horizon(&readings, self.retention) else { return Ok(0) };
        Ok(self.prune(before).await?)
    }

    /// Deletes rows from before a time, in small statements and at most a fixed number; returns how many.
    async fn prune(&self, before: OffsetDateTime) -> Result<u64, sea_orm::DbErr> {
        let mut total = 0;
        for _ in 0..MAX_BATCHES {
            let began = Instant::now();
            let deleted = answered(async {
                Ok::<_, sea_orm::DbErr>(
                    inbox::prune(&self.db, unix_millis(before), MAX_DELETED).await?
                        + outbox_pending::prune_outbox(&self.db, before, MAX_DELETED).await?
                        + delivery_issue::prune(&self.db, unix_millis(before), MAX_DELETED).await?,
                )
            })
            .await?;
            total += deleted;
            if deleted == 0 || self.shutdown.is_cancelled() {
                break;
            }
            // SQLite has one writer: message handling gets as much of its time as the deletes.
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(total)
    }
}

/// Returns the time before which rows are deleted: the retention ago by the servers' clocks, and never after the first
/// message that a stream still has. The local clock has no influence. `None` if there are no streams.
fn horizon(readings: &[Reading], retention: Duration) -> Option<OffsetDateTime> {
    let ends = readings.iter().map(|reading| {
        let end = reading.now - retention;
        reading.first.map_or(end, |first| first.min(end))
    });
    ends.min()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);

    fn reading(now: OffsetDateTime, first: Option<OffsetDateTime>) -> Reading {
        Reading { now, first }
    }

    #[test]
    fn the_horizon_is_the_retention_ago_by_the_slowest_server_clock() {
        let readings = [
            reading(datetime!(2026-01-20 00:00 UTC), Some(datetime!(2026-01-15 00:00 UTC))),
            reading(datetime!(2026-01-19 00:00 UTC), None),
        ];
        assert_eq!(horizon(&readings, RETENTION), Some(datetime!(2026-01-11 00:00 UTC)));
    }

    #[test]
    fn a_message_that_a_stream_still_has_is_remembered_although_the_server_clock_jumped_ahead() {
        let first = datetime!(2026-01-15 00:00 UTC);
        let readings = [reading(datetime!(2026-01-30 00:00 UTC), Some(first))];
        assert_eq!(horizon(&readings, RETENTION), Some(first));
    }

    #[test]
    fn a_service_that_consumes_no_stream_deletes_nothing() {
        assert_eq!(horizon(&[], RETENTION), None);
    }
}
