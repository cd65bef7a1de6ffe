//! Messages of versions that are newer than this instance.
//!
//! During a rolling upgrade, new instances publish new versions while old ones consume. An old instance gives such a
//! message back, with a growing delay: an upgraded instance may get it next. It uses up no attempt. Readiness names the
//! version. Only after [`Policies::unknown_version_timeout`](crate::Policies) does the message become a dead letter.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use tokio::time::Instant;

use crate::broker::clock;
use crate::inbound::consumer::Delivery;
use crate::inbound::handler::Handler;
use crate::inbound::item::Item;
use crate::inbound::processor::Processor;
use crate::state::database::answered;
use crate::state::delivery_issue;
use crate::telemetry::health::Health;
use crate::telemetry::metrics;
use crate::wire::envelope::Malformed;
use crate::wire::message::UnknownVersion;

/// The [`Health`] part for the versions of messages.
const VERSIONS: &str = "versions";
/// The number of types that readiness names.
const MAX_TYPES: usize = 8;
/// How long readiness names a version after the longest delay between two deliveries: then another instance has handled
/// its messages.
const MARGIN: Duration = Duration::from_secs(5);

/// The versions that an instance does not know and received lately, by type: why, and until when readiness names them.
#[derive(Debug, Default)]
pub(crate) struct UnknownVersions(Mutex<BTreeMap<String, (String, Instant)>>);

impl UnknownVersions {
    /// Adds a type, unless readiness names many already.
    fn add(&self, message_type: &str, why: String, until: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_TYPES || known.contains_key(message_type) {
            known.insert(message_type.to_owned(), (why, until));
        }
    }

    /// Waits until readiness need not name one of them any longer; forever if there is none.
    pub(crate) async fn expired(&self) {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(_, until)| *until).min();
        match first {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Removes those that need not be named any longer.
    pub(crate) fn forget_expired(&self, health: &Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, until)| *until > Instant::now());
        self.report(health);
    }

    fn report(&self, health: &Health) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            health.ok(VERSIONS);
        } else {
            let texts: Vec<&str> = known.values().map(|(why, _)| why.as_str()).collect();
            health.failed(VERSIONS, texts.join("; "));
        }
    }
}

impl<H: Handler> Processor<H> {
    /// Gives messages of unknown versions back, to be redelivered later, and returns the other messages.
    pub(crate) async fn put_off_unknown_versions(&self, items: Vec<Item<H::Message>>) -> Vec<Item<H::Message>> {
        if !items.iter().any(|item| self.is_put_off(item)) {
            return items;
        }
        let (later, now): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| self.is_put_off(item));
        self.record_put_off(&later).await;
        for item in &later {
            let Err(Malformed::UnknownVersion(unknown)) = &item.decoded else { continue };
            self.report_unknown(unknown);
            metrics::failed(None);
            item.delivery.settle(AckKind::Nak(Some(self.policies.retry_delay(item.delivery.attempts)))).await;
        }
        now
    }

    /// Returns whether the version of a message is unknown, and it is not overdue.
    fn is_put_off(&self, item: &Item<H::Message>) -> bool {
        matches!(item.decoded, Err(Malformed::UnknownVersion(_))) && !self.is_overdue(&item.delivery)
    }

    /// Returns whether a message has waited long enough for an instance that knows its version.
    pub(crate) fn is_overdue(&self, delivery: &Delivery) -> bool {
        let timeout = self.policies.unknown_version_timeout;
        // Only an instance that reads a republished message can tell whether the inbox still remembers it.
        !delivery.is_republished()
            && clock::now() - delivery.stored >= timeout
            && self.policies.retried_for(delivery.attempts) >= timeout
    }

    /// Reports an unknown version to readiness.
    pub(crate) fn report_unknown(&self, unknown: &UnknownVersion) {
        let timeout = self.policies.unknown_version_timeout.as_secs();
        let why = format!("{unknown}: upgrade it; after {timeout} s of retries, such messages become dead letters");
        self.unknown_versions.add(
            &unknown.message_type,
            why,
            Instant::now() + self.policies.max_retry_delay + MARGIN,
        );
        self.unknown_versions.report(&self.health);
    }

    /// Records the failures for timelines. No decision depends on them, so an unavailable database is no obstacle.
    async fn record_put_off(&self, items: &[Item<H::Message>]) {
        let now = clock::now();
        // A message may occur twice in a batch.
        let rows: HashMap<_, _> = items
            .iter()
            .filter_map(|item| {
                let (id, detail) = (self.inbox_id(item), item.decoded.as_ref().err()?.to_string());
                Some((id, self.origin(&item.delivery, item.attempts()).failure(id, &detail, now)))
            })
            .collect();
        if let Err(error) = answered(delivery_issue::record(&self.db, rows.into_values().collect())).await {
            tracing::debug!(%error, "messages of unknown versions could not be recorded");
        }
    }
}
