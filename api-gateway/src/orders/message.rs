//! A message of an order's timeline, as stored in its stream.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use choreography::direct::{self, Stored};
use choreography::envelope::rfc3339;
use choreography_http::parameter::{Parameter, Sequence};
use choreography_http::problem::{Problem, unavailable};
use contracts::OrderId;
use contracts::topology::{COMMANDS, EVENTS, TIMERS};
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use serde::Serialize;
use serde_json::Value;

use crate::problems;

/// How long a stream may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The streams whose messages are readable. Dead letters are excluded: they are for operators.
const STREAMS: [&str; 3] = [COMMANDS, EVENTS, TIMERS];

/// The name of a stream whose messages are readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamName(&'static str);

impl StreamName {
    /// Returns the stream's name.
    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}

impl Parameter for StreamName {
    const IN_PATH: &'static str = "stream";

    fn schema() -> MetaSchema {
        MetaSchema { enum_items: STREAMS.map(Value::from).to_vec(), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let stream = STREAMS.into_iter().find(|stream| *stream == text).map(Self);
        stream.ok_or_else(|| format!("must be one of {}", STREAMS.join(", ")))
    }
}

/// A message as stored in its stream.
#[derive(Object, Serialize)]
#[oai(rename = "OrderMessage", rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// The stream.
    stream: String,
    /// Its sequence in the stream.
    sequence: u64,
    /// Its subject.
    subject: String,
    /// When the stream stored it, RFC 3339.
    time: String,
    /// Its headers: the attributes of CloudEvents as `ce-…`, and those of NATS.
    headers: BTreeMap<String, String>,
    /// The body: JSON if it is valid JSON, otherwise text.
    body: Value,
}

/// Finds a message with this order's id as its key.
pub(super) async fn find(
    js: &jetstream::Context,
    id: &OrderId,
    stream: StreamName,
    Sequence(sequence): Sequence,
) -> Result<Message, Problem> {
    let found = tokio::time::timeout(REPLY_TIMEOUT, direct::get(js, stream.0, sequence)).await;
    let found = found.map_err(|_| unavailable(&format!("stream {} did not reply in time", stream.0)))?;
    let found = found.map_err(|error| unavailable(&format!("{error:#}")))?;
    // Account events contain addresses, and a customer's id could equal an order's id.
    let about = |stored: &Stored| {
        stored.subject.rsplit('.').next() == Some(id.as_str()) && !stored.subject.starts_with("account.")
    };
    let stored = found.filter(about).ok_or_else(|| Problem::new(problems::MESSAGE_NOT_FOUND))?;
    let headers = stored.headers.iter().map(|(name, values)| {
        let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
        (name.to_string(), values.join(", "))
    });
    Ok(Message {
        stream: stream.0.to_owned(),
        sequence: stored.sequence,
        time: rfc3339(stored.time),
        headers: headers.collect(),
        body: serde_json::from_slice(&stored.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&stored.body).into_owned().into()),
        subject: stored.subject,
    })
}
