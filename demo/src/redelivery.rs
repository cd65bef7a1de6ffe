//! Redelivery: consumers are reset to an earlier sequence, so that nats-server delivers acknowledged messages again.
//!
//! To a service it looks like lost acknowledgements: the same messages with the same ids.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::Client;
use choreography::connection;
use contracts::declaration::topology_for;
use serde_json::{Value, json};

use crate::config::ShopConfig;
use crate::provision::PROVISIONER;
use crate::shop::nats_options;

/// The streams whose messages can be redelivered on request. TIMERS is left out: its deadlines are past.
const STREAMS: [&str; 2] = ["COMMANDS", "EVENTS"];
/// How long nats-server may take for one response.
const REPLY_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the redelivery of all streams may take.
const REDELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Resets a consumer to `count` messages before the end of its stream.
///
/// A consumer that lags further behind keeps its position: it never skips messages.
///
/// # Errors
///
/// If nats-server refuses or does not respond in time.
pub async fn set_back(provisioner: &Client, stream: &str, consumer: &str, count: u64) -> anyhow::Result<()> {
    let found = connection::jetstream(provisioner).get_stream(stream).await;
    let found = found.with_context(|| format!("reading the state of {stream}"))?;
    let info = found
        .consumer_info(consumer)
        .await
        .with_context(|| format!("reading the state of {consumer} of {stream}"))?;
    let first = (found.cached_info().state.last_sequence + 1).saturating_sub(count);
    let request = json!({"seq": first.min(info.ack_floor.stream_sequence + 1).max(1)});

    let subject = format!("$JS.API.CONSUMER.RESET.{stream}.{consumer}");
    let reply = provisioner.request(subject, request.to_string().into());
    let doing = || format!("resetting the consumer {consumer} of {stream}");
    let reply = tokio::time::timeout(REPLY_TIMEOUT, reply).await.with_context(doing)?.with_context(doing)?;
    let reply: Value = serde_json::from_slice(&reply.payload).context("reading a reply of JetStream")?;
    match reply.get("error") {
        Some(error) => bail!("{}: {error}", doing()),
        None => Ok(()),
    }
}

/// Redelivers the last `count` messages of each stream to every consumer. Returns the result as a sentence.
///
/// # Errors
///
/// If nats-server refuses or is unavailable; then possibly only some services get messages again.
pub(crate) async fn redeliver(config: &ShopConfig, count: u64) -> anyhow::Result<String> {
    tokio::time::timeout(REDELIVERY_TIMEOUT, reset_consumers(config, count))
        .await
        .unwrap_or_else(|_| bail!("nats-server does not respond; check whether it runs"))
}

async fn reset_consumers(config: &ShopConfig, count: u64) -> anyhow::Result<String> {
    let options = nats_options(config, PROVISIONER);
    let (client, _) = connection::establish(&options, PROVISIONER, REPLY_TIMEOUT).await?;
    let topology = topology_for(config.auth)?;
    let consumers = topology.consumers.iter().filter(|consumer| STREAMS.contains(&consumer.stream.as_str()));
    let mut services: Vec<&str> = Vec::new();
    for consumer in consumers {
        set_back(&client, &consumer.stream, &consumer.name, count).await?;
        if !services.contains(&consumer.name.as_str()) {
            services.push(&consumer.name);
        }
    }
    Ok(format!("redelivering the last {count} messages of {} to {}", STREAMS.join(" and "), services.join(", ")))
}
