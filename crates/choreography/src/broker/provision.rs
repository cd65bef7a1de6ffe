//! Creates and updates streams, buckets, and durable consumers as declared.
//!
//! Provisioning is idempotent and updates in place. A change that the server cannot make to an existing stream or
//! consumer is refused with the server's reason and a remedy. No stream, consumer, or message is deleted, and no subject
//! is taken from a stream: another topology may share it.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::context::{
    CreateKeyValueErrorKind, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{Context, ErrorCode, kv, stream};
use serde::Serialize;
use serde_json::Value;

use crate::broker::topology::{BucketSpec, ConsumerSpec, Discard, StreamSpec, Topology, subject_matches};

/// How long the server waits for an acknowledgement before it redelivers. The messages of a killed service are
/// redelivered after this time.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// The maximum number of messages that are delivered and not acknowledged, over all instances of a service. Failed
/// messages that wait for their next attempt count as well, for a minute each: about 500 failures per second stop the
/// consumer.
const MAX_ACK_PENDING: i64 = 32_768;
/// How long a request to a server that does not reply is repeated.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(30);
/// The delay between two of these attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

impl Topology {
    /// Creates or updates everything as declared, with `replicas` copies of each stream.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, refuses a change, or creates something other than declared, as an older server
    /// does with an unknown setting; the error names the object and the settings. Also if a stream has subjects that the
    /// topology does not declare.
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

/// Retries requests that a cluster cannot serve yet: without a leader it does not reply, and while a server is starting
/// it has too few peers. All provisioning requests are idempotent.
async fn retry_while_unavailable<T, E: Display, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
    is_time_out: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let start = Instant::now();
    let mut is_logged = false;
    loop {
        match attempt().await {
            Err(error) if is_unavailable(&error, &is_time_out) && start.elapsed() < PROVISION_TIMEOUT => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error, "nats-server cannot provision yet; provisioning retries");
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            done => return done,
        }
    }
}

/// Returns whether a request failed for lack of a leader or of peers. The errors of the client differ by request, and only
/// their texts contain the server's code.
fn is_unavailable<E: Display>(error: &E, is_time_out: impl Fn(&E) -> bool) -> bool {
    is_time_out(error) || error.to_string().contains(&format!("error code {}", ErrorCode::CLUSTER_NO_PEERS.0))
}

/// Refuses a result that differs from the request. Settings left to the server are not compared.
fn check_result(
    js: &Context,
    object: &str,
    requested: impl Serialize,
    found: impl Serialize,
) -> anyhow::Result<()> {
    let (requested, found) = (serde_json::to_value(requested)?, serde_json::to_value(found)?);
    let differing = differences(&requested, &found);
    anyhow::ensure!(
        differing.is_empty(),
        "{object} differs from the request: {}. nats-server {} may be too old for this, or another program has \
         changed it meanwhile",
        differing.join(", "),
        js.client().server_info().version
    );
    Ok(())
}

/// Returns the requested settings that differ in the result. A server leaves out settings that it does not know.
fn differences(requested: &Value, found: &Value) -> Vec<String> {
    let is_left_to_the_server = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) => false,
    };
    let requested = requested.as_object().into_iter().flatten().filter(|(_, value)| !is_left_to_the_server(value));
    let differing = requested.filter_map(|(name, requested)| match found.get(name) {
        Some(found) if found == requested => None,
        found => Some(format!("{name} is {} and not {requested}", found.unwrap_or(&Value::Null))),
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
    refuse_to_take_subjects(js, spec).await?;
    let made = retry_while_unavailable(
        || js.create_or_update_stream(config.clone()),
        |error| error.kind() == CreateStreamErrorKind::TimedOut,
    );
    let made = made.await.map_err(|error| {
        anyhow!(
            "stream {} cannot be created or changed as declared: {error}. The server can change neither storage \
             nor retention of a stream in place: delete it by hand (`nats stream rm {0}`) if its messages may go",
            spec.name
        )
    })?;
    check_result(js, &format!("stream {}", spec.name), &config, &made.config)?;
    tracing::info!(stream = %spec.name, subjects = ?spec.subjects, "provisioned");
    Ok(())
}

/// Refuses to remove subjects from an existing stream: their messages would be stored no more, without any error.
async fn refuse_to_take_subjects(js: &Context, spec: &StreamSpec) -> anyhow::Result<()> {
    let is_time_out = |error: &GetStreamError| error.kind() == GetStreamErrorKind::Request;
    let stream = match retry_while_unavailable(|| js.get_stream(&spec.name), is_time_out).await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(anyhow!("stream {} cannot be read: {error}", spec.name)),
    };
    let is_declared = |stored: &&String| spec.subjects.iter().any(|declared| subject_matches(declared, stored));
    let taken: Vec<&str> = stream
        .cached_info()
        .config
        .subjects
        .iter()
        .filter(|stored| !is_declared(stored))
        .map(String::as_str)
        .collect();
    anyhow::ensure!(
        taken.is_empty(),
        "stream {name} stores {taken}, which this topology does not declare; nothing was changed. Another topology may \
         need these subjects: declare them here, too, or give this topology a stream of its own. If nobody publishes \
         there, remove them by hand (`nats stream edit {name}`)",
        name = spec.name,
        taken = taken.join(", ")
    );
    Ok(())
}

/// Returns whether the stream certainly does not exist, as opposed to a server that does not reply.
#[must_use]
pub fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(ref why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND)
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
    let made = retry_while_unavailable(
        || js.create_or_update_key_value(config.clone()),
        |error| error.kind() == CreateKeyValueErrorKind::TimedOut,
    );
    let made = made
        .await
        .map_err(|error| anyhow!("bucket {} cannot be created or changed as declared: {error}", spec.name))?;
    let found = &made.stream.cached_info().config;
    let found = serde_json::json!({
        "history": found.max_messages_per_subject,
        "max_age": found.max_age.as_secs(),
        "max_value_size": found.max_message_size,
        "max_bytes": found.max_bytes,
        "num_replicas": found.num_replicas,
    });
    let requested = serde_json::json!({
        "history": config.history,
        "max_age": config.max_age.as_secs(),
        "max_value_size": config.max_value_size,
        "max_bytes": config.max_bytes,
        "num_replicas": config.num_replicas,
    });
    check_result(js, &format!("bucket {}", spec.name), requested, found)?;
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
        // Unlimited: the service counts the failures, writes the dead letter itself, and then terminates the message.
        max_deliver: -1,
        ..Default::default()
    };
    let made = retry_while_unavailable(
        || js.create_consumer_on_stream(config.clone(), spec.stream.as_str()),
        |error| error.kind() == ConsumerErrorKind::TimedOut,
    );
    let made = made.await.map_err(|error| {
        anyhow!(
            "consumer {} of stream {} cannot be created or changed as declared: {error}",
            spec.name,
            spec.stream
        )
    })?;
    let object = format!("consumer {} of stream {}", spec.name, spec.stream);
    check_result(js, &object, config.into_consumer_config(), &made.cached_info().config)?;
    tracing::info!(stream = %spec.stream, consumer = %spec.name, filter = ?spec.filter_subjects, "provisioned");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_settings_are_named_and_settings_left_to_the_server_are_not() {
        let requested =
            serde_json::json!({"max_age": 5, "allow_msg_schedules": true, "discard": "new", "max_msgs": 0});
        let found = serde_json::json!({"max_age": 5, "discard": "old", "max_msgs": -1});
        let mut differing = differences(&requested, &found);
        differing.sort_unstable();
        assert_eq!(differing, ["allow_msg_schedules is null and not true", r#"discard is "old" and not "new""#]);
        assert_eq!(differences(&requested, &requested), Vec::<String>::new());
    }
}
