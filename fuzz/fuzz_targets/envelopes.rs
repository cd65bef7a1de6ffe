//! Headers of messages, one a line, `name: value`, behind a line with the subject: what is read reads the same again.
#![no_main]

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use messaging::envelope::{self, Attributes, Decode, Envelope};

struct Anything;

impl Decode for Anything {
    fn decode(_: &str, _: &[u8]) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

fn attributes(envelope: &Envelope<Anything>) -> Attributes<'_> {
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
    }
}

fn headers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    headers
}

fuzz_target!(|text: &str| {
    let (subject, rest) = text.split_once('\n').unwrap_or((text, ""));
    let given = headers(rest.split('\n').filter_map(|line| line.split_once(": ")));
    let read = |headers| envelope::decode::<Anything>(subject, Some(headers), b"", |_, _| Some("order-service"));
    match read(&given) {
        Ok(first) => {
            let pairs = attributes(&first).headers();
            let again = headers(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let again = read(&again).expect("what was written is read");
            assert_eq!(attributes(&again), attributes(&first));
        }
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
});
