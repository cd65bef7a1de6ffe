//! Direct reads from a stream, without a consumer: one message by its sequence, or batches by subject.
//!
//! A direct read leaves no state on the server and changes no consumer's position. A batch (ADR-31 of NATS, nats-server
//! 2.11) needs the permission to publish on `$JS.API.DIRECT.GET.<stream>`, and so does a single message.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, State};
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::error::Elapsed;

use crate::wire::envelope::unix_millis;

/// Messages per request.
const BATCH: usize = 256;
/// The time limit for the next message of a batch.
const WAIT: Duration = Duration::from_secs(5);
/// The number of attempts of a request to which the server responds late.
const MAX_ATTEMPTS: u32 = 3;
/// The status that ends a batch.
const END_OF_BATCH: u16 = 204;

/// A message, as a stream stores it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The subject on which it was published.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the stream stored it, by the server's clock.
    pub time: OffsetDateTime,
    /// Its headers; in a batch, also those that the server adds.
    pub headers: HeaderMap,
    /// The body, as published.
    pub body: Bytes,
}

impl Stored {
    /// Returns the first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }

    fn from_batch(message: Message) -> anyhow::Result<Self> {
        let headers = message.headers.unwrap_or_default();
        // The server appends its own; a stored message may have some of an earlier read.
        let header = |name: &str| {
            headers
                .get_last(name)
                .map(|value| value.as_str().to_owned())
                .with_context(|| format!("a reply without {name}"))
        };
        let subject = header("Nats-Subject")?;
        let sequence = header("Nats-Sequence")?.parse().context("reading Nats-Sequence")?;
        let time =
            OffsetDateTime::parse(&header("Nats-Time-Stamp")?, &Rfc3339).context("reading Nats-Time-Stamp")?;
        Ok(Self { subject, sequence, time, headers, body: message.payload })
    }
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self {
            subject: message.subject.to_string(),
            sequence: message.sequence,
            time: message.time,
            headers: message.headers,
            body: message.payload,
        }
    }
}

/// Returns the sequence of the last message of a stream; 0 if it never had one.
///
/// # Errors
///
/// If the stream's info cannot be read.
pub async fn last_sequence(js: &Context, stream: &str) -> anyhow::Result<u64> {
    Ok(state(js, stream).await?.last_sequence)
}

/// Returns the state of a stream.
///
/// # Errors
///
/// If the stream's info cannot be read.
pub(crate) async fn state(js: &Context, stream: &str) -> anyhow::Result<State> {
    let reading = || format!("reading the info of stream {stream}");
    let found = retry_late(|| async { js.get_stream(stream).await.with_context(reading) }).await?;
    Ok(found.cached_info().state.clone())
}

/// Repeats a request to which a busy server does not respond in time: a long read must not begin again for that.
async fn retry_late<T, F: Future<Output = anyhow::Result<T>>>(request: impl Fn() -> F) -> anyhow::Result<T> {
    for _ in 1..MAX_ATTEMPTS {
        match request().await {
            Err(error) if is_late(&error) => {
                tracing::warn!(error = format!("{error:#}"), "the request is repeated")
            }
            done => return done,
        }
    }
    request().await
}

fn is_late(error: &anyhow::Error) -> bool {
    let of_stream = error.downcast_ref::<GetStreamError>();
    error.is::<Elapsed>() || of_stream.is_some_and(|error| error.kind() == GetStreamErrorKind::Request)
}

/// Returns one message; `None` if the stream does not have it (any more).
///
/// # Errors
///
/// If the server does not reply, as happens without the permission.
pub async fn get(js: &Context, stream: &str, sequence: u64) -> anyhow::Result<Option<Stored>> {
    let looking = || format!("reading message {sequence} of stream {stream}; may this user read it?");
    let handle = js.get_stream_no_info(stream).await.with_context(looking)?;
    match handle.direct_get(sequence).await {
        Ok(message) => Ok(Some(message.into())),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(looking),
    }
}

/// Returns whether a stream still has the message that it stored at a sequence at that time, in milliseconds since 1970. If
/// not, it has returned to an earlier state, such as that of an older disk. A deleted message counts as unchanged.
///
/// # Errors
///
/// As [`get`].
pub async fn is_unchanged(js: &Context, stream: &str, sequence: u64, stored_at: i64) -> anyhow::Result<bool> {
    let message = get(js, stream, sequence).await?;
    Ok(message.is_none_or(|message| unix_millis(message.time) == stored_at))
}

/// Reads the messages of a stream that match a subject filter, in stream order.
#[derive(Debug)]
pub struct Reader {
    js: Context,
    stream: String,
    filter: String,
    next: u64,
    last: u64,
}

impl Reader {
    /// Starts at a sequence (1: the first message of the stream) and ends at the current last message.
    ///
    /// # Errors
    ///
    /// If the stream's info cannot be read.
    pub async fn start(js: &Context, stream: &str, filter: &str, from: u64) -> anyhow::Result<Self> {
        let last = last_sequence(js, stream).await?;
        Ok(Self { js: js.clone(), stream: stream.to_owned(), filter: filter.to_owned(), next: from.max(1), last })
    }

    /// Returns the next messages, at most 256; `None` if all have been read.
    ///
    /// # Errors
    ///
    /// If the server does not reply, as happens without the permission, or refuses. A repeated call continues after the
    /// last returned message.
    pub async fn next_batch(&mut self) -> anyhow::Result<Option<Vec<Stored>>> {
        if self.next > self.last {
            return Ok(None);
        }
        let messages = retry_late(|| self.fetch()).await?;
        match messages.last() {
            Some(last) => {
                self.next = last.sequence + 1;
                Ok(Some(messages))
            }
            None => {
                self.next = self.last + 1;
                Ok(None)
            }
        }
    }

    /// Requests a batch and waits for its end.
    async fn fetch(&self) -> anyhow::Result<Vec<Stored>> {
        let client = self.js.client();
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await?;
        let request =
            serde_json::json!({ "seq": self.next, "next_by_subj": self.filter, "batch": BATCH }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        client.publish_with_reply(subject, inbox, request.into()).await?;
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let reply = tokio::time::timeout(WAIT, replies.next())
                .await
                .with_context(|| format!("stream {} does not reply; may this user read it?", self.stream))?;
            let Some(message) = reply else { bail!("the connection was closed") };
            match message.status {
                None => messages.push(Stored::from_batch(message)?),
                Some(status) if status.as_u16() == END_OF_BATCH || status == StatusCode::NOT_FOUND => break,
                Some(status) => {
                    let why = message.description.as_deref().unwrap_or_default();
                    bail!("stream {} refuses a batch: {status} {why}", self.stream)
                }
            }
        }
        Ok(messages)
    }
}
