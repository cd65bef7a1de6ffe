//! A sample: the messages of one real order, with headers, bodies, and causation.
//!
//! The baseline replays them, so no other code describes these messages.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::stream::Stream;
use async_nats::{Client, HeaderMap, jetstream};
use choreography::envelope;
use contracts::topology::{COMMANDS, EVENTS};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::chain::Chain;
use crate::orders::Outbound;

/// How long one order may take.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);
/// The time without new messages after which the sample is complete.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// A message of the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The stream of the message.
    pub stream: String,
    /// The subject without the key: `order.event.placed`.
    pub name: String,
    /// All headers, sorted by name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns the producer, such as `order-service`.
    #[must_use]
    pub fn producer(&self) -> &str {
        self.header(envelope::SOURCE).unwrap_or_default().trim_start_matches('/')
    }

    /// Returns the size of headers and body in bytes, without the subject.
    #[must_use]
    pub fn size(&self) -> usize {
        // As on the wire: a first line, one line per header, an empty line.
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        "NATS/1.0\r\n\r\n".len() + headers + self.body.len()
    }
}

/// The messages of one order, in the order of their streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The messages; the command is the first.
    pub messages: Vec<Message>,
}

impl Sample {
    /// Places an order, and waits until it is completed.
    ///
    /// # Errors
    ///
    /// If it is not completed within 30 s.
    pub async fn take(
        client: &Client,
        js: &jetstream::Context,
        chain: Chain,
        command: Outbound,
        order_id: &str,
    ) -> anyhow::Result<Self> {
        client.publish_with_headers(command.subject, command.headers, command.body).await?;
        let streams = [js.get_stream(COMMANDS).await?, js.get_stream(EVENTS).await?];
        let last = chain.last_event().trim_end_matches(".*");
        let start = Instant::now();
        let mut before = 0;
        while start.elapsed() < ORDER_TIMEOUT {
            tokio::time::sleep(QUIET_TIME).await;
            let mut messages = Vec::new();
            for stream in &streams {
                messages.extend(read(stream, order_id).await?);
            }
            if messages.len() == before && messages.iter().any(|message| message.name == last) {
                return Ok(Self { messages });
            }
            before = messages.len();
        }
        bail!("an order has no {last} after {} s, only {before} messages", ORDER_TIMEOUT.as_secs());
    }

    /// Returns the messages that a service publishes because of the message with this name.
    #[must_use]
    pub fn caused_by(&self, name: &str, service: &str) -> Vec<&Message> {
        let Some(cause) = self.messages.iter().find(|message| message.name == name) else { return Vec::new() };
        let cause = cause.header(envelope::ID);
        self.messages
            .iter()
            .filter(|message| message.producer() == service && message.header(envelope::CAUSATION_ID) == cause)
            .collect()
    }

    /// Describes the messages of an order in a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        let messages: Vec<_> =
            self.messages.iter().map(|message| format!("{} ({} B)", message.name, message.size())).collect();
        format!("{} messages: {}", messages.len(), messages.join(", "))
    }
}

/// Reads the messages of an order from a stream.
async fn read(stream: &Stream, order_id: &str) -> anyhow::Result<Vec<Message>> {
    let name = stream.cached_info().config.name.clone();
    let mut messages = Vec::new();
    let mut next = 1;
    loop {
        let found = match stream.direct_get_next_for_subject(format!("*.*.*.{order_id}"), Some(next)).await {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), jetstream::stream::DirectGetErrorKind::NotFound) => {
                return Ok(messages);
            }
            Err(error) => return Err(error).with_context(|| format!("reading the stream {name}")),
        };
        next = found.sequence + 1;
        let subject = found.subject.as_str();
        messages.push(Message {
            stream: name.clone(),
            name: subject.rsplit_once('.').map_or(subject, |(name, _)| name).to_owned(),
            headers: own_headers(&found.headers),
            body: String::from_utf8(found.payload.to_vec()).context("reading a body that is not UTF-8")?,
        });
    }
}

/// Returns the headers of the message itself: without those that nats-server adds to a direct get, and without those of
/// an atomic batch.
fn own_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    const ADDED: [&str; 5] =
        ["Nats-Stream", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Subject", "Nats-Num-Pending"];
    headers
        .iter()
        .map(|(name, values)| (name.to_string(), values.first().map(ToString::to_string).unwrap_or_default()))
        .filter(|(name, _)| !ADDED.contains(&name.as_str()) && !name.starts_with("Nats-Batch-"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, source: &str, id: &str, cause: &str) -> Message {
        let headers = [(envelope::SOURCE, source), (envelope::ID, id), (envelope::CAUSATION_ID, cause)];
        Message {
            stream: "EVENTS".to_owned(),
            name: name.to_owned(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: "{}".to_owned(),
        }
    }

    #[test]
    fn messages_are_assigned_to_their_cause_and_their_producer() {
        let sample = Sample {
            messages: vec![
                message("order.event.placed", "/order-service", "1", "0"),
                message("inventory.event.reserved", "/inventory-service", "2", "1"),
                message("order.event.reserved", "/order-service", "3", "2"),
            ],
        };
        let names = |messages: Vec<&Message>| messages.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            names(sample.caused_by("order.event.placed", "inventory-service")),
            ["inventory.event.reserved"]
        );
        assert!(sample.caused_by("order.event.placed", "payment-service").is_empty());
        assert!(sample.caused_by("order.event.confirmed", "order-service").is_empty());
    }

    #[test]
    fn the_size_is_that_on_the_wire() {
        let headers = [("a".to_owned(), "bc".to_owned())].into_iter().collect();
        let message = Message { stream: String::new(), name: String::new(), headers, body: "{}".to_owned() };
        assert_eq!(message.size(), "NATS/1.0\r\na: bc\r\n\r\n{}".len());
    }
}
