//! Messages that come again: consumers set back, so that the server delivers what it has delivered before.
//!
//! To a service that looks as if all of its acknowledgements had been lost: the same messages with the same ids.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::Client;
use messaging::{Topology, connection};
use serde_json::{Value, json};

use crate::config::ShopConfig;
use crate::provision::PROVISIONER;
use crate::shop::nats_options;

/// The streams whose messages come again on request. Deadlines do not: theirs is the past.
const STREAMS: [&str; 2] = ["COMMANDS", "EVENTS"];
/// How long the server may take for one answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the server may take for all of it.
const ALL_WITHIN: Duration = Duration::from_secs(15);

/// Sets a consumer back by so many messages of its stream. It may be further behind than that already; setting it
/// forward would take messages away from it.
///
/// # Errors
///
/// Where the server refuses or does not answer in time.
pub async fn set_back(provisioner: &Client, stream: &str, consumer: &str, count: u64) -> anyhow::Result<()> {
    let looked = connection::jetstream(provisioner).get_stream(stream).await;
    let looked = looked.with_context(|| format!("looking at {stream}"))?;
    let info =
        looked.consumer_info(consumer).await.with_context(|| format!("looking at {consumer} of {stream}"))?;
    let back = (looked.cached_info().state.last_sequence + 1).saturating_sub(count);
    let request = json!({"seq": back.min(info.ack_floor.stream_sequence + 1).max(1)});

    let subject = format!("$JS.API.CONSUMER.RESET.{stream}.{consumer}");
    let asked = provisioner.request(subject, request.to_string().into());
    let doing = || format!("setting {consumer} of {stream} back");
    let answer = tokio::time::timeout(REPLY_TIMEOUT, asked).await.with_context(doing)?.with_context(doing)?;
    let answer: Value = serde_json::from_slice(&answer.payload).context("reading an answer of JetStream")?;
    match answer.get("error") {
        Some(error) => bail!("{}: {error}", doing()),
        None => Ok(()),
    }
}

/// Lets the last `count` messages of each stream come again to every service that listens to them. Returns what was
/// done, in a sentence.
///
/// # Errors
///
/// Where nats-server refuses or is away; some services may then get messages again and others not.
pub(crate) async fn redeliver(config: &ShopConfig, count: u64) -> anyhow::Result<String> {
    tokio::time::timeout(ALL_WITHIN, redeliver_at_leisure(config, count))
        .await
        .unwrap_or_else(|_| bail!("nats-server does not answer; does it run?"))
}

async fn redeliver_at_leisure(config: &ShopConfig, count: u64) -> anyhow::Result<String> {
    let options = nats_options(config, PROVISIONER);
    let (client, _) = connection::establish(&options, PROVISIONER, REPLY_TIMEOUT).await?;
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    let consumers = topology.consumers.iter().filter(|consumer| STREAMS.contains(&consumer.stream.as_str()));
    let mut services: Vec<&str> = Vec::new();
    for consumer in consumers {
        set_back(&client, &consumer.stream, &consumer.name, count).await?;
        if !services.contains(&consumer.name.as_str()) {
            services.push(&consumer.name);
        }
    }
    Ok(format!("the last {count} messages of {} come again to {}", STREAMS.join(" and "), services.join(", ")))
}
