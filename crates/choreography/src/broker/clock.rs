//! The clock of a service: the time of nats-server, independent of the local clock.
//!
//! Streams measure age by the server's clock, and the instances of a service run on different machines. So deadlines,
//! due times, retention, and the order of outbox rows follow the server. A local clock that jumps, or is days off,
//! changes none of them (ADR 24). Between two readings the monotonic clock advances the time; it does not jump.
//!
//! [`watch`] reads the server's time. A local clock that is far from it is logged once and noted in readiness; the
//! service continues.

use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::telemetry::health::Health;
use crate::telemetry::metrics::{self, Gauges};

/// The [`Health`] part for the local clock.
pub(crate) const CLOCK: &str = "clock";
/// The difference between the local clock and the server's from which it is reported.
pub(crate) const MAX_SKEW: Duration = Duration::from_secs(60);
/// How often the server's time is read.
const READ_INTERVAL: Duration = Duration::from_secs(10);
/// The time limit of a reading, and so its inaccuracy.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

static SKEW: LazyLock<Gauges> = LazyLock::new(|| {
    let help = "Seconds that the local clock is ahead of nats-server's";
    metrics::gauges("messaging_clock_skew_seconds", help)
});
/// The last reading: the server's time, and when it was read.
static LAST: RwLock<Option<(OffsetDateTime, Instant)>> = RwLock::new(None);

tokio::task_local! {
    /// The time that a test has set for the current task.
    static FIXED: OffsetDateTime;
}

/// Runs a future for which [`now`] is `time`, for tests. Tasks that it spawns have the real time.
pub async fn at<T>(time: OffsetDateTime, future: impl Future<Output = T>) -> T {
    FIXED.scope(time, future).await
}

/// Returns the time of nats-server, or the local time until that has been read.
#[must_use]
pub fn now() -> OffsetDateTime {
    if let Ok(fixed) = FIXED.try_with(|time| *time) {
        return fixed;
    }
    let last = *LAST.read().unwrap_or_else(PoisonError::into_inner);
    last.and_then(|(server, at)| server.checked_add(at.elapsed().try_into().ok()?))
        .unwrap_or_else(OffsetDateTime::now_utc)
}

/// Returns how far the local clock is ahead of nats-server's, in seconds; `None` until that has been read.
pub(crate) fn skew() -> Option<f64> {
    let known = LAST.read().unwrap_or_else(PoisonError::into_inner).is_some();
    known.then(|| (OffsetDateTime::now_utc() - now()).as_seconds_f64())
}

/// The server's time and a stream's first timestamp, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) now: OffsetDateTime,
    /// When the stream stored its first message; `None` for an empty stream.
    pub(crate) first: Option<OffsetDateTime>,
}

/// The fields of a stream's info that are used here.
#[derive(Deserialize)]
struct StreamInfo {
    #[serde(rename = "ts", with = "time::serde::rfc3339")]
    now: OffsetDateTime,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    #[serde(with = "time::serde::rfc3339")]
    first_ts: OffsetDateTime,
}

/// Reads the server's time and a stream's first timestamp; [`now`] follows from then on.
///
/// # Errors
///
/// If the server does not reply within 2 s, or has no such stream.
pub(crate) async fn read(js: &jetstream::Context, stream: &str) -> anyhow::Result<Reading> {
    let start = Instant::now();
    let request =
        js.request::<_, _, jetstream::response::Response<StreamInfo>>(format!("STREAM.INFO.{stream}"), &());
    let info = match tokio::time::timeout(READ_TIMEOUT, request).await?? {
        jetstream::response::Response::Ok(info) => info,
        jetstream::response::Response::Err { error } => anyhow::bail!(error),
    };
    // The server set its time at some point between the request and the reply.
    *LAST.write().unwrap_or_else(PoisonError::into_inner) = Some((info.now, start + start.elapsed() / 2));
    Ok(Reading { now: info.now, first: (info.state.messages > 0).then_some(info.state.first_ts) })
}

/// Reads the server's time once; [`now`] follows from then on. For short-lived programs.
///
/// # Errors
///
/// If the server does not reply within 2 s, or has no such stream.
pub async fn synchronise(js: &jetstream::Context, stream: &str) -> anyhow::Result<()> {
    read(js, stream).await.map(drop)
}

/// Reads the server's time until shutdown, and reports a local clock that is far from it.
pub async fn watch(js: jetstream::Context, stream: String, health: Health, shutdown: CancellationToken) {
    let mut skewed = false;
    let mut every = tokio::time::interval(READ_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
        }
        // The connection reports a server that does not reply; the last reading stays valid.
        if read(&js, &stream).await.is_ok()
            && let Some(skew) = skew()
        {
            SKEW.get_or_create(&Vec::new()).set(skew);
            skewed = report(&health, skew, skewed);
        }
    }
}

/// Reports the local clock, and logs only changes; returns whether it is too far from the server's.
fn report(health: &Health, skew: f64, was_skewed: bool) -> bool {
    let skewed = skew.abs() > MAX_SKEW.as_secs_f64();
    if skewed {
        health.note(CLOCK, format!("the local clock differs from nats-server's by {skew:+.0} s"));
    } else {
        health.ok(CLOCK);
    }
    match (was_skewed, skewed) {
        (false, true) => tracing::warn!(
            skew_seconds = skew,
            "the local clock differs from nats-server's; the service uses the time of nats-server; correct the clock"
        ),
        (true, false) => tracing::info!("the local clock agrees with nats-server's again"),
        _ => {}
    }
    skewed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_local_clock_is_noted_and_does_not_make_the_service_unready() {
        let health = Health::default();
        let mut skewed = false;
        for (skew, reported) in [(0.5, false), (-59.0, false), (61.0, true), (-777_600.0, true), (2.0, false)] {
            skewed = report(&health, skew, skewed);
            assert_eq!(skewed, reported, "{skew}");
            let readiness = health.readiness();
            assert!(readiness.ready, "{skew}");
            assert_eq!(readiness.checks[CLOCK].detail.is_empty(), !reported, "{skew}");
        }
    }
}
