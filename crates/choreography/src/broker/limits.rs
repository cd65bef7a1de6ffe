//! Message size limits of the streams, as far as a service knows them.
//!
//! A message that is too large is detected inside the transaction that would write it, and fails the message that
//! causes it: nothing is written or published. A service knows the limits of the streams that it consumes. For other
//! streams the largest of those applies.

use async_nats::jetstream::stream::Info;

use crate::broker::topology::subject_matches;
use crate::wire::envelope::Header;

/// Bytes reserved for headers that are added later: those of an atomic batch, and of a republished message.
pub(crate) const RESERVE: usize = 512;
/// The largest headers that nats-server stores.
pub(crate) const MAX_HEADERS: usize = u16::MAX as usize;

/// Returns the bytes of a header in the protocol: `name: value`, and the line break.
pub(crate) fn header_size(name: &str, value: &str) -> usize {
    name.len() + value.len() + 4
}

/// A message that its stream would refuse forever.
#[derive(Debug, thiserror::Error)]
#[error("a message on {subject} has {size} bytes, and its stream accepts at most {limit}")]
pub(crate) struct TooLarge {
    subject: String,
    size: usize,
    limit: usize,
}

/// The limit of each known stream, and one for all others.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    streams: Vec<(Vec<String>, usize)>,
    others: usize,
}

impl Limits {
    /// Reads the limits from the streams and the server.
    pub(crate) fn new(streams: &[Info], max_payload: usize) -> Self {
        let limit = |info: &Info| match usize::try_from(info.config.max_message_size) {
            Ok(limit @ 1..) => limit.min(max_payload),
            _ => max_payload,
        };
        let streams: Vec<_> = streams.iter().map(|info| (info.config.subjects.clone(), limit(info))).collect();
        let others = streams.iter().map(|(_, limit)| *limit).max().unwrap_or(max_payload);
        Self { streams, others }
    }

    /// Checks that the stream of a subject accepts a message.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if it never will.
    pub(crate) fn check(&self, subject: &str, headers: &[Header], body: &[u8]) -> Result<(), TooLarge> {
        let headers = headers.iter().fold(RESERVE, |size, (name, value)| size + header_size(name, value));
        let takes = |(subjects, _): &&(Vec<String>, usize)| subjects.iter().any(|s| subject_matches(s, subject));
        let limit = self.streams.iter().find(takes).map_or(self.others, |(_, limit)| *limit);
        for (size, limit) in [(headers, MAX_HEADERS), (headers + body.len(), limit)] {
            if size > limit {
                return Err(TooLarge { subject: subject.to_owned(), size, limit });
            }
        }
        Ok(())
    }
}
