//! Publishing a command from outside a transaction: what a gateway does.
//!
//! Where the server syncs before it acknowledges, commands that come at the same time share a sync: one that comes
//! alone goes at once, and those that come while it is under way go together, as an atomic batch from some number on.
//! Each is answered for itself. A batch that is refused, because of one of its commands, goes command by command.

use std::error::Error as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::atomic::{self, Ready};
use crate::clock;
use crate::envelope::{Attributes, header_map};
use crate::spans::{About, StartedSpan};

/// How many groups are under way at a time.
const GROUPS: usize = 2;
/// How long a batch may take.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A command to publish. Publishing it again with the same id is safe: the stream drops it within its duplicate
/// window, and the inbox of whoever handles it afterwards.
#[derive(Debug, Clone)]
pub struct Command {
    /// The id, derived from what the caller gave, so that a retry has the same.
    pub id: Uuid,
    /// The NATS subject.
    pub subject: String,
    /// `<context>.<name>.v<version>`.
    pub message_type: &'static str,
    /// The business id it is about.
    pub key: String,
    /// The body, JSON.
    pub body: Bytes,
    /// W3C trace context of the caller.
    pub trace_parent: Option<String>,
}

/// The stream has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream.
    pub sequence: u64,
    /// Whether the stream had it before.
    pub duplicate: bool,
}

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The stream is away, full, or did not answer in time. It may have the message all the same: publish the same
    /// command again, later.
    #[error("the stream did not acknowledge the command: {0}")]
    Unavailable(String),
    /// The message is larger than the stream takes. Publishing it again cannot help.
    #[error("the command is larger than the stream takes: {0}")]
    TooLarge(String),
}

/// A command on its way in a group, and who waits for its acknowledgement.
struct Waiting {
    ready: Ready,
    answer: oneshot::Sender<Result<Published, PublishError>>,
}

/// Publishes commands in the name of one source.
#[derive(Debug, Clone)]
pub struct Publisher {
    js: jetstream::Context,
    source: String,
    group: mpsc::Sender<Waiting>,
}

impl Publisher {
    /// Makes a publisher for a program called `name`; the source of what it publishes is `/<name>`.
    ///
    /// Spawns a task, which ends with the last clone of the publisher.
    #[must_use]
    pub fn new(js: jetstream::Context, name: &str) -> Self {
        let (group, waiting) = mpsc::channel(atomic::MAX_BATCH);
        tokio::spawn(publish_groups(js.clone(), waiting));
        Self { js, source: format!("/{name}"), group }
    }

    /// Publishes a command and waits for the stream's acknowledgement, 5 s at most.
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub async fn publish(&self, command: Command) -> Result<Published, PublishError> {
        traced(command, async |command| acknowledgement(send(&self.js, self.ready(command)).await?).await).await
    }

    /// As [`Publisher::publish`], but lets commands that come at the same time share a batch: right where the server
    /// syncs before it acknowledges, slower elsewhere.
    ///
    /// # Errors
    ///
    /// [`PublishError`], each command for itself.
    pub async fn publish_in_group(&self, command: Command) -> Result<Published, PublishError> {
        let gone = || PublishError::Unavailable("the publisher has ended".to_owned());
        traced(command, async |command| {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { ready: self.ready(command), answer };
            self.group.send(waiting).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
        .await
    }

    fn ready(&self, command: Command) -> Ready {
        let headers = Attributes {
            id: command.id,
            message_type: command.message_type,
            source: &self.source,
            key: &command.key,
            time: clock::now(),
            correlation_id: command.id,
            causation_id: None,
            aggregate_version: None,
            trace_parent: command.trace_parent.as_deref(),
        }
        .headers();
        Ready { subject: command.subject, headers: header_map(&headers), body: command.body }
    }
}

/// Publishes a command, and tells of it where somebody wants to know.
async fn traced(
    mut command: Command,
    publish: impl AsyncFnOnce(Command) -> Result<Published, PublishError>,
) -> Result<Published, PublishError> {
    let Some(begun) = StartedSpan::within(command.trace_parent.as_deref()) else { return publish(command).await };
    command.trace_parent = Some(begun.trace_parent());
    let (subject, message_id) = (command.subject.clone(), command.id);
    let published = publish(command).await;
    let about = About { operation: "send", subject: &subject, message_id, correlation_id: message_id };
    about.done(begun, [], published.as_ref().err().map(ToString::to_string));
    published
}

/// Publishes what waits as groups, of which few are under way at a time: meanwhile the next one grows.
async fn publish_groups(js: jetstream::Context, mut waiting: mpsc::Receiver<Waiting>) {
    let mut under_way = FuturesUnordered::new();
    let mut group = Vec::new();
    loop {
        tokio::select! {
            taken = waiting.recv_many(&mut group, atomic::MAX_BATCH), if under_way.len() < GROUPS => {
                if taken == 0 {
                    break;
                }
                under_way.push(publish_group(&js, std::mem::take(&mut group)));
            }
            Some(()) = under_way.next() => {}
        }
    }
    while under_way.next().await.is_some() {}
}

async fn publish_group(js: &jetstream::Context, mut group: Vec<Waiting>) {
    if group.len() >= atomic::MIN_BATCH {
        match publish_batch(js, &group).await {
            Ok(last) => return answer_all(group, last),
            Err(error) => {
                tracing::debug!(%error, commands = group.len(), "a batch was not stored; going one by one")
            }
        }
    }
    let mut acknowledgements = FuturesUnordered::new();
    for Waiting { ready, answer } in group.drain(..) {
        let sent = send(js, ready).await;
        acknowledgements.push(async move {
            let published = match sent {
                Ok(sent) => acknowledgement(sent).await,
                Err(error) => Err(error),
            };
            // Who waited may have gone.
            let _ = answer.send(published);
        });
    }
    while acknowledgements.next().await.is_some() {}
}

/// Publishes a group as one batch; returns the sequence of the last of it.
async fn publish_batch(js: &jetstream::Context, group: &[Waiting]) -> anyhow::Result<u64> {
    let client = js.client();
    let ready = group.iter().map(|waiting| waiting.ready.clone()).collect();
    let Some(last) = atomic::stage(&client, ready).await? else { bail!("an empty batch") };
    let request = client.request_with_headers(last.subject, last.headers, last.body);
    let reply = tokio::time::timeout(ACK_TIMEOUT, request).await.context("no acknowledgement in time")??;
    Ok(atomic::acknowledged(&reply)?.sequence)
}

/// Answers commands that were stored one behind the other.
fn answer_all(group: Vec<Waiting>, last: u64) {
    for (behind, waiting) in group.into_iter().rev().enumerate() {
        let sequence = last.saturating_sub(behind as u64);
        // Who waited may have gone.
        let _ = waiting.answer.send(Ok(Published { sequence, duplicate: false }));
    }
}

async fn send(js: &jetstream::Context, ready: Ready) -> Result<PublishAckFuture, PublishError> {
    let message = PublishMessage::build().headers(ready.headers).payload(ready.body);
    js.send_publish(ready.subject, message).await.map_err(refused)
}

async fn acknowledgement(sent: PublishAckFuture) -> Result<Published, PublishError> {
    let acknowledged = sent.await.map_err(refused)?;
    Ok(Published { sequence: acknowledged.sequence, duplicate: acknowledged.duplicate })
}

/// Tells apart what a later try may repair.
fn refused(error: jetstream::context::PublishError) -> PublishError {
    let code = error
        .source()
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    match (error.kind(), code) {
        (PublishErrorKind::MaxPayloadExceeded, _) | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
            PublishError::TooLarge(error.to_string())
        }
        _ => PublishError::Unavailable(error.to_string()),
    }
}
