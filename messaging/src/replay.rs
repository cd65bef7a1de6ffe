//! A stream read again, past every consumer: how a service fills a copy of what others have said.
//!
//! Services may not make consumers, and their durable one stands where their state stands. So this reads with direct
//! gets, a batch at a time (the batch of ADR-31 of NATS, nats-server 2.11): the permission to publish on
//! `$JS.API.DIRECT.GET.<stream>` is all it takes. Envelopes are checked as those of a consumer are.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::Context;
use async_nats::{HeaderMap, Message, StatusCode};
use futures::StreamExt;

use crate::envelope::{self, Decode, Envelope, Speaker};

/// Messages asked for at a time.
const BATCH: usize = 256;
/// How long to wait for the next message of a batch.
const WAIT: Duration = Duration::from_secs(5);
/// The end of a batch.
const END_OF_BATCH: u16 = 204;

/// A stream being read again.
pub struct Replay {
    js: Context,
    stream: String,
    filter: String,
    speaker: Speaker,
    next: u64,
    last: u64,
    skipped: u64,
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

impl Replay {
    /// Begins to read the messages on `filter` from a sequence on (1: whatever the stream has) to what is last now.
    ///
    /// # Errors
    ///
    /// Where the stream cannot be looked at.
    pub async fn start(
        js: &Context,
        stream: &str,
        filter: &str,
        from: u64,
        speaker: Speaker,
    ) -> anyhow::Result<Self> {
        let last = last_sequence(js, stream).await?;
        let (stream, filter) = (stream.to_owned(), filter.to_owned());
        Ok(Self { js: js.clone(), stream, filter, speaker, next: from.max(1), last, skipped: 0 })
    }

    /// Returns how many messages were left out because a consumer would have made dead letters of them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the next messages, in the order of the stream; none where all have been read.
    ///
    /// # Errors
    ///
    /// Where the server does not answer (without the permission it does not) or refuses. Calling it again goes on
    /// behind the last messages it has returned.
    pub async fn next_batch<T: Decode>(&mut self) -> anyhow::Result<Option<Vec<Envelope<T>>>> {
        if self.next > self.last {
            return Ok(None);
        }
        let messages = self.fetch().await?;
        let Some(last) = messages.last() else {
            self.next = self.last + 1;
            return Ok(None);
        };
        let next = header(last, "Nats-Sequence")?.parse::<u64>().context("reading Nats-Sequence")? + 1;
        let mut envelopes = Vec::with_capacity(messages.len());
        for message in &messages {
            let subject = header(message, "Nats-Subject")?;
            match envelope::decode(subject, message.headers.as_ref(), &message.payload, self.speaker) {
                Ok(envelope) => envelopes.push(envelope),
                Err(malformed) => {
                    self.skipped += 1;
                    tracing::warn!(subject, %malformed, "a message is left out of the replay");
                }
            }
        }
        self.next = next;
        Ok(Some(envelopes))
    }

    /// Asks for a batch and waits for its end.
    async fn fetch(&self) -> anyhow::Result<Vec<Message>> {
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
                None => messages.push(message),
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

fn header<'a>(message: &'a Message, name: &str) -> anyhow::Result<&'a str> {
    let value = message.headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name));
    value.map(|value| value.as_str()).with_context(|| format!("an answer without {name}"))
}
