//! The storage of nats-server: size, limit, and failed writes.
//!
//! The account reports its own limit (`$JS.API.INFO`). Only the monitor of a server (`/jsz`, `/healthz`) reports the
//! limit of that server (`max_file_store`) and a failed write. No interface reports the free space of the disk, so a
//! disk smaller than the limit is reported only after a write has failed.
//!
//! A server at its limit refuses messages (10023) until something is deleted. After a failed write a stream
//! acknowledges nothing until nats-server is restarted, even if the disk has space again. Both are outages: commands
//! are refused, events wait in the outboxes.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use async_nats::jetstream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::broker::durability::{monitor, monitor_failure};
use crate::setting::redacted;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{self, Gauges, figure};

/// The check of [`Health`].
const NATS_STORAGE: &str = "nats-storage";
const POLL_INTERVAL: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(2);
/// The usage, in percent, at which readiness warns if the limits of the streams do not keep it below the limit.
const WARN_PERCENT: u64 = 80;

static STORED: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("messaging_nats_storage_bytes", "Size of the files of nats-server, per account and server")
});
static MAX: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges("messaging_nats_max_storage_bytes", "Storage limit of nats-server; NaN without a limit")
});

/// Watches the storage of nats-server until shutdown.
pub struct BrokerStorage {
    /// A connection with the permission to publish to `$JS.API.INFO`.
    pub js: jetstream::Context,
    /// The monitoring URLs of all servers.
    pub monitors: Vec<String>,
    /// Receives the check `nats-storage`.
    pub health: Health,
    /// Ends the watch.
    pub shutdown: CancellationToken,
}

/// The storage of an account or a server, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Usage {
    source: String,
    stored: u64,
    /// The sum of the limits of its streams; streams without a limit do not count.
    reserved: u64,
    max: Option<u64>,
}

/// One reading of account and servers.
#[derive(Debug, Default)]
struct Reading {
    usages: Vec<Usage>,
    /// Failed writes, with the server.
    write_errors: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine(String),
    Low(String),
    Full(String),
}

impl BrokerStorage {
    /// Runs until shutdown. A reached limit or a failed write fails readiness; a limit that is near is a note.
    pub async fn watch(self) {
        let mut is_low = false;
        let mut known = BTreeSet::new();
        let mut every = tokio::time::interval(POLL_INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            let reading = self.read().await;
            reading.export(&mut known);
            let verdict = reading.judge();
            let was_low = std::mem::replace(&mut is_low, matches!(verdict, Verdict::Low(_)));
            match verdict {
                Verdict::Full(why) => self.health.failed(NATS_STORAGE, why),
                Verdict::Low(why) => {
                    if !was_low {
                        tracing::warn!(
                            why,
                            "the storage of nats-server is nearly full: at the limit it refuses messages"
                        );
                    }
                    self.health.note(NATS_STORAGE, why);
                }
                Verdict::Fine(what) => self.health.note(NATS_STORAGE, what),
            }
        }
    }

    async fn read(&self) -> Reading {
        let mut reading = Reading::default();
        match tokio::time::timeout(TIMEOUT, self.js.query_account()).await {
            Ok(Ok(account)) => reading.usages.push(Usage {
                source: "account".to_owned(),
                stored: account.storage,
                reserved: account.reserved_storage,
                max: account.limits.max_storage.map(i64::unsigned_abs),
            }),
            Ok(Err(error)) => reading.unknown.push(format!("the account: {error}")),
            Err(_) => reading.unknown.push("the account: no response in time".to_owned()),
        }
        for (url, response) in
            futures::future::join_all(self.monitors.iter().map(async |url| (url, of_server(url).await))).await
        {
            match response {
                Ok((usage, write_error)) => {
                    reading.usages.push(usage);
                    reading.write_errors.extend(write_error);
                }
                Err(error) => reading.unknown.push(monitor_failure(url, error)),
            }
        }
        reading
    }
}

#[derive(Deserialize)]
struct Jsz {
    config: JszConfig,
    storage: u64,
    #[serde(default)]
    reserved_storage: u64,
}

#[derive(Deserialize)]
struct JszConfig {
    /// Negative without a limit.
    max_storage: i64,
}

#[derive(Deserialize)]
struct Healthz {
    #[serde(default)]
    error: String,
}

/// Reads the storage of a server, and its failed write, if any.
async fn of_server(url: &str) -> anyhow::Result<(Usage, Option<String>)> {
    let jsz: Jsz = monitor(url, "jsz").await?.error_for_status()?.json().await?;
    let source = redacted(url);
    // An unhealthy server responds with 503 and the reason.
    let health: Healthz = monitor(url, "healthz").await?.json().await?;
    let write_error = health.error.contains("write error").then(|| format!("{source}: {}", health.error));
    let max = u64::try_from(jsz.config.max_storage).ok();
    Ok((Usage { source, stored: jsz.storage, reserved: jsz.reserved_storage, max }, write_error))
}

impl Usage {
    fn is_full(&self) -> bool {
        self.max.is_some_and(|max| self.stored > max)
    }

    /// Returns whether the limit is near, and the limits of the streams do not keep the server below it.
    fn is_low(&self) -> bool {
        self.max.is_some_and(|max| {
            let unbounded = self.reserved > max || self.stored > self.reserved;
            unbounded && self.stored.saturating_mul(100) / max.max(1) >= WARN_PERCENT
        })
    }

    fn describe(&self) -> String {
        let Self { source, stored, reserved, max } = self;
        let (stored, reserved) = (stored >> 10, reserved >> 10);
        match max.map(|max| max >> 10) {
            Some(max) => {
                format!(
                    "{source} stores {stored} of at most {max} KiB; the limits of its streams total {reserved} KiB"
                )
            }
            None => format!(
                "{source} stores {stored} KiB without a limit; the limits of its streams total {reserved} KiB"
            ),
        }
    }
}

impl Reading {
    /// Sets the metrics; those of a source that has not responded become `NaN`. `known` are the sources so far.
    fn export(&self, known: &mut BTreeSet<String>) {
        known.extend(self.usages.iter().map(|usage| usage.source.clone()));
        for source in known.iter() {
            let usage = self.usages.iter().find(|usage| usage.source == *source);
            let labels = vec![("source", source.clone())];
            STORED.get_or_create(&labels).set(usage.map_or(f64::NAN, |usage| figure(usage.stored)));
            MAX.get_or_create(&labels).set(usage.and_then(|usage| usage.max).map_or(f64::NAN, figure));
        }
    }

    fn judge(&self) -> Verdict {
        if !self.write_errors.is_empty() {
            let errors = self.write_errors.join("; ");
            return Verdict::Full(format!(
                "nats-server cannot write and stores no messages: {errors}; free space on its disk, then restart it"
            ));
        }
        let list = |of: fn(&Usage) -> bool| {
            let texts: Vec<String> = self.usages.iter().filter(|usage| of(usage)).map(Usage::describe).collect();
            texts.join("; ")
        };
        let (full, low) = (list(Usage::is_full), list(Usage::is_low));
        if !full.is_empty() {
            return Verdict::Full(format!(
                "nats-server is at its storage limit and refuses messages: {full}; raise `max_file_store` (or the limit \
                 of the account), or delete streams that are not needed"
            ));
        }
        if !low.is_empty() {
            return Verdict::Low(format!(
                "{low}; at the limit nats-server refuses messages: raise it, or limit the streams"
            ));
        }
        let mut texts: Vec<String> = self.usages.iter().map(Usage::describe).collect();
        texts.extend(self.unknown.iter().map(|why| format!("unknown: {why}")));
        if self.usages.iter().all(|usage| usage.source == "account") {
            texts.push("the limit of nats-server is unknown without NATS_MONITOR_URL".to_owned());
        }
        Verdict::Fine(texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(stored: u64, reserved: u64, max: Option<u64>) -> Verdict {
        let usage = Usage { source: "http://n:8222".to_owned(), stored, reserved, max };
        Reading { usages: vec![usage], ..Reading::default() }.judge()
    }

    #[test]
    fn streams_that_may_exceed_the_limit_of_the_server_are_a_warning_and_bounded_ones_are_not() {
        const MAX: Option<u64> = Some(100 << 10);
        assert!(matches!(verdict(95 << 10, 98 << 10, MAX), Verdict::Fine(_)), "bounded by their own limits");
        assert!(matches!(verdict(79 << 10, 0, MAX), Verdict::Fine(_)));
        assert!(matches!(verdict(80 << 10, 0, MAX), Verdict::Low(_)), "without limits");
        assert!(matches!(verdict(80 << 10, 101 << 10, MAX), Verdict::Low(_)), "with too large ones");
        assert!(matches!(verdict((100 << 10) + 1, 0, MAX), Verdict::Full(why) if why.contains("at most 100 KiB")));
        assert!(matches!(verdict(u64::MAX, 0, None), Verdict::Fine(_)));
    }

    #[test]
    fn a_failed_write_fails_readiness_whatever_the_limit_and_a_missing_response_is_unknown() {
        let failed = Reading { write_errors: vec!["http://n: no space left".to_owned()], ..Reading::default() };
        assert!(
            matches!(failed.judge(), Verdict::Full(why) if why.contains("no space left") && why.contains("restart"))
        );
        let silent = Reading { unknown: vec!["the account: no response".to_owned()], ..Reading::default() };
        assert!(matches!(silent.judge(), Verdict::Fine(why) if why.contains("unknown: the account")));
    }

    #[test]
    fn the_metrics_of_a_source_without_a_response_are_not_those_of_its_last_one() {
        let source = "http://silent:8222".to_owned();
        let stored = || STORED.get_or_create(&vec![("source", source.clone())]).get();
        let usage = Usage { source: source.clone(), stored: 7, reserved: 0, max: None };
        let mut known = BTreeSet::new();
        Reading { usages: vec![usage], ..Reading::default() }.export(&mut known);
        assert!((stored() - 7.0).abs() < f64::EPSILON);
        Reading::default().export(&mut known);
        assert!(stored().is_nan());
    }
}
