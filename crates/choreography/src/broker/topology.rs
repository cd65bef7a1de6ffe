//! Streams, buckets, and durable consumers, as data.

use serde::Deserialize;

/// The stream of dead letters, in every topology.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";

/// The declared state of the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// Streams with file storage and Limits retention.
    pub streams: Vec<StreamSpec>,
    /// Key-value buckets with file storage.
    #[serde(default)]
    pub buckets: Vec<BucketSpec>,
    /// Durable pull consumers with explicit acknowledgements. A service's own declaration also yields them
    /// ([`Topology::with`]).
    #[serde(default)]
    pub consumers: Vec<ConsumerSpec>,
}

/// A stream. Limits retention and not `WorkQueue`: a work queue forgets its dedup ids on restart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSpec {
    /// The stream's name on the server.
    pub name: String,
    /// Its contents, as a description.
    pub description: String,
    /// The subjects it stores.
    pub subjects: Vec<String>,
    /// How long it keeps a message. The inbox of each consumer must remember as long.
    pub max_age_seconds: u64,
    /// How long the server drops a second message with the same `Nats-Msg-Id`.
    pub duplicate_window_seconds: u64,
    /// The largest message, headers included, in bytes.
    pub max_message_size: i32,
    /// The maximum size, in bytes; by default only the server's own limit applies.
    #[serde(default)]
    pub max_bytes: Option<i64>,
    /// The messages that a full stream discards.
    #[serde(default)]
    pub discard: Discard,
    /// Whether it accepts message schedules ([`Timing::At`](crate::wire::envelope::Timing::At)).
    #[serde(default)]
    pub schedules: bool,
    /// Whether it accepts atomic batches: many messages, stored all or none. That pays off if the server syncs before
    /// it acknowledges: a batch costs one sync.
    #[serde(default)]
    pub atomic_batches: bool,
}

/// The messages that a full stream discards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Discard {
    /// The oldest: the stream is a ring buffer, and consumed history makes space. The program that accepts commands must
    /// keep the unconsumed part below the limit. nats-server supports no other policy for a stream with schedules.
    #[default]
    Old,
    /// The new one: the server refuses it, and the producer publishes it again later.
    New,
}

/// A key-value bucket. A full bucket refuses new entries.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketSpec {
    /// The bucket's name on the server.
    pub name: String,
    /// Its contents, as a description.
    pub description: String,
    /// How long it keeps an entry.
    pub max_age_seconds: u64,
    /// The largest value, in bytes.
    pub max_value_size: i32,
    /// The maximum size, in bytes.
    #[serde(default)]
    pub max_bytes: Option<i64>,
}

/// A durable pull consumer, one per (service, stream), named after the service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerSpec {
    /// The stream it reads.
    pub stream: String,
    /// The service that uses it, and the consumer's durable name.
    pub name: String,
    /// The subjects it reads from the stream.
    pub filter_subjects: Vec<String>,
}

/// A declaration that is not the JSON of a [`Topology`].
#[derive(Debug, thiserror::Error)]
#[error("the topology cannot be read: {0}")]
pub struct TopologyError(serde_json::Error);

impl Topology {
    /// Reads a declaration.
    ///
    /// # Errors
    ///
    /// [`TopologyError`].
    pub fn parse(json: &str) -> Result<Self, TopologyError> {
        serde_json::from_str(json).map_err(TopologyError)
    }

    /// Returns the streams a service consumes.
    #[must_use]
    pub fn streams_of(&self, service: &str) -> Vec<&str> {
        self.consumers.iter().filter(|consumer| consumer.name == service).map(|c| c.stream.as_str()).collect()
    }
}

/// Returns whether a subject matches a filter with the wildcards of NATS.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_nats_server() {
        assert!(subject_matches("order.event.placed.*", "order.event.placed.K1"));
        assert!(subject_matches("order.command.>", "order.command.place.K1"));
        assert!(!subject_matches("order.command.>", "order.command"));
        assert!(!subject_matches("order.event.placed.*", "order.event.placed"));
        assert!(!subject_matches("order.event.placed", "order.event.placed.K1"));
        assert!(!subject_matches("order.event.confirmed.*", "order.event.placed.K1"));
    }
}
