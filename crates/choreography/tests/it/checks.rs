//! Invariants of decoding any headers. Property tests and a target of `tools/fuzz/` share these checks.

use async_nats::HeaderMap;
use choreography::envelope::{self, Attributes, Envelope, Malformed};
use choreography::{DecodeError, Event, Message, MessageInfo, Messages};
use serde::de::Error;
use serde::{Deserialize, Serialize};

/// The only declared message.
#[derive(Serialize, Deserialize, Event)]
#[message(context = "order", name = "placed", version = 1, key = order_id, producer = "order-service")]
struct OrderPlaced {
    order_id: String,
}

/// Text in UTF-8, as a body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text(pub(crate) String);

impl Messages for Text {
    const MESSAGES: &'static [MessageInfo] = &[OrderPlaced::INFO];

    fn decode(_: &str, body: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(body).map_err(serde_json::Error::custom);
        let text = text.map_err(|source| DecodeError::Body { message_type: OrderPlaced::TYPE, source })?;
        Ok(Self(text.to_owned()))
    }
}

/// Decodes a message of a topology with the order service as only producer.
pub(crate) fn read(subject: &str, headers: &HeaderMap, body: &[u8]) -> Result<Envelope<Text>, Malformed> {
    envelope::decode(subject, Some(headers), body)
}

/// Returns the attributes of a decoded message, for encoding it again.
pub(crate) fn attributes(envelope: &Envelope<Text>) -> Attributes<'_> {
    Attributes {
        id: envelope.id,
        message_type: &envelope.message_type,
        source: &envelope.source,
        key: &envelope.key,
        time: envelope.time,
        correlation_id: envelope.correlation_id,
        causation_id: envelope.causation_id,
        aggregate_version: envelope.aggregate_version,
        trace_parent: envelope.trace_parent.as_deref(),
        auth: envelope.auth.as_ref(),
    }
}

/// Encodes the headers of a message.
pub(crate) fn written(attributes: &Attributes<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in attributes.headers() {
        headers.insert(name.as_ref(), value);
    }
    headers
}

/// Checks that headers either round-trip or are rejected with a reason.
pub(crate) fn envelope(subject: &str, headers: &HeaderMap, body: &[u8]) {
    match read(subject, headers, body) {
        Ok(envelope) => {
            let sent = attributes(&envelope);
            let again = read(subject, &written(&sent), body).unwrap();
            assert_eq!(attributes(&again), sent);
        }
        Err(rejected) => assert!(!rejected.to_string().is_empty()),
    }
}
