//! Messages read out of a stream directly, past every consumer: one by its sequence, or batches by subject.
//!
//! Reading so leaves nothing behind on the server and moves nobody's position. A batch (ADR-31 of NATS, nats-server
//! 2.11) needs the permission to publish on `$JS.API.DIRECT.GET.<stream>`, and so does a single message.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Messages asked for at a time.
const BATCH: usize = 256;
/// How long to wait for the next message of a batch.
const WAIT: Duration = Duration::from_secs(5);
/// The end of a batch.
const END_OF_BATCH: u16 = 204;

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its place in the stream.
    pub sequence: u64,
    /// When the stream got it, by the server's clock.
    pub time: OffsetDateTime,
    /// Its headers, and in a batch those that say where it stands.
    pub headers: HeaderMap,
    /// Its body.
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
                .with_context(|| format!("an answer without {name}"))
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

/// Returns the sequence of the last message of a stream; 0 where it never had one.
///
/// # Errors
///
/// Where the stream cannot be looked at.
pub async fn last_sequence(js: &Context, stream: &str) -> anyhow::Result<u64> {
    let info = js.get_stream(stream).await.with_context(|| format!("looking at stream {stream}"))?;
    Ok(info.cached_info().state.last_sequence)
}

/// Returns one message; `None` where the stream does not hold it (any more).
///
/// # Errors
///
/// Where the server does not answer (without the permission it does not).
pub async fn get(js: &Context, stream: &str, sequence: u64) -> anyhow::Result<Option<Stored>> {
    let looking = || format!("reading message {sequence} of stream {stream}; may this user read it?");
    let handle = js.get_stream_no_info(stream).await.with_context(looking)?;
    match handle.direct_get(sequence).await {
        Ok(message) => Ok(Some(message.into())),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(looking),
    }
}

/// The messages on some subjects of a stream, in its order.
#[derive(Debug)]
pub struct Reader {
    js: Context,
    stream: String,
    filter: String,
    next: u64,
    last: u64,
}

impl Reader {
    /// Begins to read the messages on `filter` from a sequence on (1: whatever the stream has) to what is last now.
    ///
    /// # Errors
    ///
    /// Where the stream cannot be looked at.
    pub async fn start(js: &Context, stream: &str, filter: &str, from: u64) -> anyhow::Result<Self> {
        let last = last_sequence(js, stream).await?;
        Ok(Self { js: js.clone(), stream: stream.to_owned(), filter: filter.to_owned(), next: from.max(1), last })
    }

    /// Returns the next messages, 256 at most; none where all have been read.
    ///
    /// # Errors
    ///
    /// Where the server does not answer (without the permission it does not) or refuses. Calling it again goes on
    /// behind the last messages it has returned.
    pub async fn next_batch(&mut self) -> anyhow::Result<Option<Vec<Stored>>> {
        if self.next > self.last {
            return Ok(None);
        }
        let messages = self.fetch().await?;
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

    /// Asks for a batch and waits for its end.
    async fn fetch(&self) -> anyhow::Result<Vec<Stored>> {
        let client = self.js.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await?;
        let request =
            serde_json::json!({ "seq": self.next, "next_by_subj": self.filter, "batch": BATCH }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        client.publish_with_reply(subject, inbox, request.into()).await?;
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let answer = tokio::time::timeout(WAIT, answers.next())
                .await
                .with_context(|| format!("stream {} does not answer; may this user read it?", self.stream))?;
            let Some(message) = answer else { bail!("the connection was closed") };
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
