//! Streams, buckets, and durable consumers, made and kept up to date from a declaration.
//!
//! Provisioning is idempotent and updates in place. What the server cannot change on an existing stream or consumer
//! is refused with the server's reason and a way out; nothing is ever deleted.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::context::{CreateKeyValueErrorKind, CreateStreamErrorKind};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{Context, kv, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What shall exist on the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// Streams with file storage and Limits retention.
    pub streams: Vec<StreamSpec>,
    /// Key-value buckets.
    #[serde(default)]
    pub buckets: Vec<BucketSpec>,
    /// Durable pull consumers.
    pub consumers: Vec<ConsumerSpec>,
}

/// A stream. Limits retention and not `WorkQueue`: a work queue forgets its dedup ids on restart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// What it holds, for people.
    pub description: String,
    /// The subjects it stores.
    pub subjects: Vec<String>,
    /// How long it keeps a message. The inbox of each consumer must remember as long.
    pub max_age_seconds: u64,
    /// How long the server drops a second message with the same `Nats-Msg-Id`.
    pub duplicate_window_seconds: u64,
    /// The largest message, headers included, in bytes.
    pub max_message_size: i32,
    /// How much it holds, in bytes; without it only the server's own limit holds.
    #[serde(default)]
    pub max_bytes: Option<i64>,
    /// Which messages a full stream discards.
    #[serde(default)]
    pub discard: Discard,
    /// Whether it delivers messages at a time of their own ([`Timing::At`](crate::envelope::Timing::At)).
    #[serde(default)]
    pub schedules: bool,
    /// Whether it takes many messages as one batch, stored all or none. That pays where the server syncs before it
    /// acknowledges: a batch costs one sync.
    #[serde(default)]
    pub atomic_batches: bool,
}

/// Which messages a full stream discards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Discard {
    /// The oldest: the stream is a ring buffer, and consumed history makes room. Whoever accepts commands keeps the
    /// unconsumed part below the limit. nats-server knows no other way for a stream with schedules.
    #[default]
    Old,
    /// The new one: the server refuses it, and the producer publishes it again later.
    New,
}

/// A key-value bucket. A full bucket refuses new entries.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketSpec {
    /// Its name.
    pub name: String,
    /// What it holds, for people.
    pub description: String,
    /// How long it keeps an entry.
    pub max_age_seconds: u64,
    /// The largest value, in bytes.
    pub max_value_size: i32,
    /// How much it holds, in bytes.
    #[serde(default)]
    pub max_bytes: Option<i64>,
}

/// A durable pull consumer, one per (service, stream), named after the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerSpec {
    /// The stream it reads.
    pub stream: String,
    /// The service.
    pub name: String,
    /// What it reads of the stream.
    pub filter_subjects: Vec<String>,
}

/// How long the server waits for an acknowledgement before it delivers again. A killed service's messages come back
/// after this time.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Messages delivered and not acknowledged: what all instances of a service may hold together. Messages that failed and
/// wait for their next attempt count as well, for a minute each: about 500 failures per second stop the consumer.
const MAX_ACK_PENDING: i64 = 32_768;
/// How long a server that does not answer is asked again.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(30);

impl Topology {
    /// Reads a declaration.
    ///
    /// # Errors
    ///
    /// Where it is not the JSON that [`Topology`] describes.
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("reading the topology")
    }

    /// Returns the streams a service consumes.
    #[must_use]
    pub fn streams_of(&self, service: &str) -> Vec<&str> {
        self.consumers.iter().filter(|consumer| consumer.name == service).map(|c| c.stream.as_str()).collect()
    }

    /// Makes everything exist as declared, with `replicas` copies of each stream.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, refuses a change, or makes something other than what is declared, as an older one
    /// does that does not know a setting; the error names what, and the settings.
    pub async fn provision(&self, js: &Context, replicas: usize) -> anyhow::Result<()> {
        for spec in &self.streams {
            provision_stream(js, spec, replicas).await?;
        }
        for spec in &self.buckets {
            provision_bucket(js, spec, replicas).await?;
        }
        for spec in &self.consumers {
            provision_consumer(js, spec).await?;
        }
        Ok(())
    }
}

/// Returns whether a subject passes a filter with the wildcards of NATS.
#[must_use]
pub fn subject_matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

/// Tries again what the server does not answer in time: a cluster without a leader answers nothing. All of provisioning
/// may be repeated.
async fn patiently<T, E: Display, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
    is_time_out: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let start = Instant::now();
    let mut is_logged = false;
    loop {
        match attempt().await {
            Err(error) if is_time_out(&error) && start.elapsed() < PROVISION_TIMEOUT => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error, "nats-server does not answer in time; provisioning goes on trying");
                }
            }
            done => return done,
        }
    }
}

/// Refuses what came out other than it was asked for. Settings that were left to the server are not compared.
fn must_be_as_asked(js: &Context, what: &str, asked: impl Serialize, found: impl Serialize) -> anyhow::Result<()> {
    let (asked, found) = (serde_json::to_value(asked)?, serde_json::to_value(found)?);
    let differing = differences(&asked, &found);
    anyhow::ensure!(
        differing.is_empty(),
        "{what} came out other than it was asked for: {}. nats-server {} may be too old for this, or another program has \
         changed it meanwhile",
        differing.join(", "),
        js.client().server_info().version
    );
    Ok(())
}

/// Returns the settings that were asked for and came out otherwise. A server leaves out what it does not know.
fn differences(asked: &Value, found: &Value) -> Vec<String> {
    let is_left_to_the_server = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) => false,
    };
    let asked = asked.as_object().into_iter().flatten().filter(|(_, value)| !is_left_to_the_server(value));
    let differing = asked.filter_map(|(name, asked)| match found.get(name) {
        Some(found) if found == asked => None,
        found => Some(format!("{name} is {} and not {asked}", found.unwrap_or(&Value::Null))),
    });
    differing.collect()
}

async fn provision_stream(js: &Context, spec: &StreamSpec, replicas: usize) -> anyhow::Result<()> {
    let config = stream::Config {
        name: spec.name.clone(),
        description: Some(spec.description.clone()),
        subjects: spec.subjects.clone(),
        retention: stream::RetentionPolicy::Limits,
        storage: stream::StorageType::File,
        max_age: Duration::from_secs(spec.max_age_seconds),
        duplicate_window: Duration::from_secs(spec.duplicate_window_seconds),
        max_message_size: spec.max_message_size,
        max_bytes: spec.max_bytes.unwrap_or(-1),
        discard: match spec.discard {
            Discard::Old => stream::DiscardPolicy::Old,
            Discard::New => stream::DiscardPolicy::New,
        },
        num_replicas: replicas,
        allow_direct: true,
        allow_message_schedules: spec.schedules,
        allow_atomic_publish: spec.atomic_batches,
        ..Default::default()
    };
    let made = patiently(
        || js.create_or_update_stream(config.clone()),
        |error| error.kind() == CreateStreamErrorKind::TimedOut,
    );
    let made = made.await.map_err(|error| {
        anyhow!(
            "stream {} cannot be made or changed to what is declared: {error}. The server can change neither storage \
             nor retention of a stream in place: delete it by hand (`nats stream rm {0}`) if its messages may go",
            spec.name
        )
    })?;
    must_be_as_asked(js, &format!("stream {}", spec.name), &config, &made.config)?;
    tracing::info!(stream = %spec.name, subjects = ?spec.subjects, "provisioned");
    Ok(())
}

async fn provision_bucket(js: &Context, spec: &BucketSpec, replicas: usize) -> anyhow::Result<()> {
    let config = kv::Config {
        bucket: spec.name.clone(),
        description: spec.description.clone(),
        history: 1,
        max_age: Duration::from_secs(spec.max_age_seconds),
        max_value_size: spec.max_value_size,
        max_bytes: spec.max_bytes.unwrap_or(-1),
        storage: stream::StorageType::File,
        num_replicas: replicas,
        ..Default::default()
    };
    let made = patiently(
        || js.create_or_update_key_value(config.clone()),
        |error| error.kind() == CreateKeyValueErrorKind::TimedOut,
    );
    let made = made
        .await
        .map_err(|error| anyhow!("bucket {} cannot be made or changed to what is declared: {error}", spec.name))?;
    let found = &made.stream.cached_info().config;
    let found = serde_json::json!({
        "history": found.max_messages_per_subject,
        "max_age": found.max_age.as_secs(),
        "max_value_size": found.max_message_size,
        "max_bytes": found.max_bytes,
        "num_replicas": found.num_replicas,
    });
    let asked = serde_json::json!({
        "history": config.history,
        "max_age": config.max_age.as_secs(),
        "max_value_size": config.max_value_size,
        "max_bytes": config.max_bytes,
        "num_replicas": config.num_replicas,
    });
    must_be_as_asked(js, &format!("bucket {}", spec.name), asked, found)?;
    tracing::info!(bucket = %spec.name, "provisioned");
    Ok(())
}

async fn provision_consumer(js: &Context, spec: &ConsumerSpec) -> anyhow::Result<()> {
    let config = pull::Config {
        durable_name: Some(spec.name.clone()),
        filter_subjects: spec.filter_subjects.clone(),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        ack_wait: ACK_WAIT,
        max_ack_pending: MAX_ACK_PENDING,
        // Without a limit: the service counts the deliveries, writes the dead letter itself, and then terminates.
        max_deliver: -1,
        ..Default::default()
    };
    let made = patiently(
        || js.create_consumer_on_stream(config.clone(), spec.stream.as_str()),
        |error| error.kind() == ConsumerErrorKind::TimedOut,
    );
    let made = made.await.map_err(|error| {
        anyhow!(
            "consumer {} of stream {} cannot be made or changed to what is declared: {error}",
            spec.name,
            spec.stream
        )
    })?;
    let what = format!("consumer {} of stream {}", spec.name, spec.stream);
    must_be_as_asked(js, &what, config.into_consumer_config(), &made.cached_info().config)?;
    tracing::info!(stream = %spec.stream, consumer = %spec.name, filter = ?spec.filter_subjects, "provisioned");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_out_otherwise_is_named_and_what_was_left_to_the_server_is_not() {
        let asked = serde_json::json!({"max_age": 5, "allow_msg_schedules": true, "discard": "new", "max_msgs": 0});
        let found = serde_json::json!({"max_age": 5, "discard": "old", "max_msgs": -1});
        let mut differing = differences(&asked, &found);
        differing.sort_unstable();
        assert_eq!(differing, ["allow_msg_schedules is null and not true", r#"discard is "old" and not "new""#]);
        assert_eq!(differences(&asked, &asked), Vec::<String>::new());
    }

    #[test]
    fn filters_match_as_the_server_matches_them() {
        assert!(subject_matches("order.event.placed.*", "order.event.placed.K1"));
        assert!(subject_matches("order.command.>", "order.command.place.K1"));
        assert!(!subject_matches("order.command.>", "order.command"));
        assert!(!subject_matches("order.event.placed.*", "order.event.placed"));
        assert!(!subject_matches("order.event.placed", "order.event.placed.K1"));
        assert!(!subject_matches("order.event.confirmed.*", "order.event.placed.K1"));
    }
}
