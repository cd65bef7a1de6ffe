//! How long inbox and outbox rows are kept, and the check that it is long enough.
//!
//! The inbox is what makes a second delivery harmless. A stream can deliver a message for as long as it keeps it, so
//! a row must be kept at least that long: the *dedup horizon*. A service refuses to start otherwise. The horizon is measured by
//! the clock that the streams go by, nats-server's: a local clock that is wrong deletes nothing (ADR 24).

use std::time::{Duration, Instant};

use async_nats::jetstream;
use sea_orm::DatabaseConnection;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Reading};
use crate::database::answered;
use crate::envelope::unix_millis;
use crate::{delivery_issue, inbox, outbox};

/// Rows deleted in one statement, so that no delete holds the write lock for long.
const AT_A_TIME: u64 = 1000;
/// Statements per table and cycle, so that a long absence is cleaned up bit by bit.
const MAX_BATCHES: u32 = 200;

/// The shortest [`late_after`]: no row that the relay is merely slow with is marked.
const MIN_LATE: Duration = Duration::from_secs(60);

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
/// [`HorizonError::TooShort`] where it is shorter or a stream keeps messages forever; it says what to change.
pub(crate) async fn check_dedup_horizon(
    js: &jetstream::Context,
    streams: &[&'static str],
    retention: Duration,
) -> Result<Vec<jetstream::stream::Info>, HorizonError> {
    let mut infos = Vec::with_capacity(streams.len());
    for name in streams {
        let unreadable = |reason: String| HorizonError::Unreadable { stream: (*name).to_owned(), reason };
        // Before anything is handled or written: what follows goes by the server's clock.
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

/// Returns how long after it was written a message may be published as if it was new: as long as every inbox still
/// knows an earlier copy of it on the last day that a stream delivers this one.
pub(crate) fn late_after(streams: &[jetstream::stream::Info], retention: Duration) -> Duration {
    let max_age = streams.iter().map(|stream| stream.config.max_age).max().unwrap_or_default();
    retention.saturating_sub(max_age).max(MIN_LATE)
}

/// Deletes what no stream delivers any more, until shutdown.
pub(crate) struct Cleanup {
    pub(crate) db: DatabaseConnection,
    pub(crate) js: jetstream::Context,
    /// The streams that the service consumes.
    pub(crate) streams: &'static [&'static str],
    pub(crate) retention: Duration,
    /// How often rows are deleted, and how long after the start for the first time.
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
        for stream in self.streams {
            readings.push(clock::read(&self.js, stream).await?);
        }
        let Some(before) = horizon(&readings, self.retention) else { return Ok(0) };
        Ok(self.prune(before).await?)
    }

    /// Deletes rows from before a time, a few at a time and not without end; returns how many.
    async fn prune(&self, before: OffsetDateTime) -> Result<u64, sea_orm::DbErr> {
        let mut total = 0;
        for _ in 0..MAX_BATCHES {
            let began = Instant::now();
            let deleted = answered(async {
                Ok::<_, sea_orm::DbErr>(
                    inbox::prune(&self.db, unix_millis(before), AT_A_TIME).await?
                        + outbox::prune(&self.db, before, AT_A_TIME).await?
                        + delivery_issue::prune(&self.db, unix_millis(before), AT_A_TIME).await?,
                )
            })
            .await?;
            total += deleted;
            if deleted == 0 || self.shutdown.is_cancelled() {
                break;
            }
            // SQLite has one writer: what is handled meanwhile gets as much of it as the deletes.
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(total)
    }
}

/// Returns the time before which nothing is remembered: the retention ago by the servers' clocks, and never after the
/// first message that a stream still has. The local clock has no part in it. `None` where there is no stream to go by.
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
    fn nothing_is_forgotten_by_a_service_that_consumes_no_stream() {
        assert_eq!(horizon(&[], RETENTION), None);
    }
}
