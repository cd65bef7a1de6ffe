//! Publishes commands from outside a transaction, as the API gateway does.
//!
//! If the server syncs before it acknowledges, concurrent commands share a sync: a single command is published
//! immediately, and commands that arrive meanwhile are published together, as an atomic batch if there are enough. Each
//! command gets its own result. If a batch is refused because of one command, its commands are published one by one.

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

use crate::broker::clock;
use crate::outbound::atomic::{self, Ready};
use crate::telemetry::spans::{About, StartedSpan};
use crate::wire::encoding::{self, EncodeError};
use crate::wire::envelope::{Attributes, header_map};
use crate::wire::message::Publish;

/// The maximum number of groups in flight.
const GROUPS: usize = 2;
/// The time limit of a batch.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A command to publish. Publishing it again with the same id is safe: the stream drops it within its duplicate window,
/// and later the consumer's inbox does.
#[derive(Debug, Clone)]
pub struct Command {
    /// The id, derived from the caller's input, so that a retry has the same id.
    pub id: Uuid,
    /// The NATS subject to publish on.
    pub subject: String,
    /// The type, `<context>.<name>.v<version>`.
    pub message_type: &'static str,
    /// The business id of the command.
    pub key: String,
    /// The payload, as JSON.
    pub body: Bytes,
    /// W3C trace context of the caller.
    pub trace_parent: Option<String>,
    /// On whose behalf the command is sent, if the caller is known.
    pub auth: Option<crate::wire::auth::Auth>,
}

impl Command {
    /// Encodes a command to publish, without a trace context.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn new(id: Uuid, command: &impl Publish) -> Result<Self, EncodeError> {
        Ok(Self {
            id,
            subject: command.subject(),
            message_type: command.message_type(),
            key: command.key().to_owned(),
            body: encoding::body(command)?.into(),
            trace_parent: None,
            auth: None,
        })
    }
}

/// The acknowledgement of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The command's sequence in the stream.
    pub sequence: u64,
    /// Whether the stream had stored it before.
    pub duplicate: bool,
}

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The stream is unavailable, full, or did not acknowledge in time. It may have stored the command nevertheless:
    /// publish the same command again, later.
    #[error("the stream did not acknowledge the command: {0}")]
    Unavailable(String),
    /// The command is larger than the stream accepts. Publishing it again cannot help.
    #[error("the command is larger than the stream accepts: {0}")]
    TooLarge(String),
}

/// A command in a group, and the channel for its result.
struct PendingCommand {
    ready: Ready,
    result: oneshot::Sender<Result<Published, PublishError>>,
}

/// Publishes commands of one source.
#[derive(Debug, Clone)]
pub struct Publisher {
    js: jetstream::Context,
    source: String,
    group: mpsc::Sender<PendingCommand>,
}

impl Publisher {
    /// Creates a publisher for a program called `name`; the source of its commands is `/<name>`.
    ///
    /// Spawns a task, which ends with the last clone of the publisher.
    #[must_use]
    pub fn new(js: jetstream::Context, name: &str) -> Self {
        let (group, pending) = mpsc::channel(atomic::MAX_BATCH);
        tokio::spawn(publish_groups(js.clone(), pending));
        Self { js, source: format!("/{name}"), group }
    }

    /// Publishes a command and waits for the stream's acknowledgement, for at most 5 s.
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub async fn publish(&self, command: Command) -> Result<Published, PublishError> {
        traced(command, async |command| acknowledgement(send(&self.js, self.ready(command)).await?).await).await
    }

    /// As [`Publisher::publish`], but concurrent commands may share a batch: faster if the server syncs before it
    /// acknowledges, slower otherwise.
    ///
    /// # Errors
    ///
    /// [`PublishError`], per command.
    pub async fn publish_in_group(&self, command: Command) -> Result<Published, PublishError> {
        let gone = || PublishError::Unavailable("the publisher has ended".to_owned());
        traced(command, async |command| {
            let (result, completed) = oneshot::channel();
            let pending = PendingCommand { ready: self.ready(command), result };
            self.group.send(pending).await.map_err(|_| gone())?;
            completed.await.map_err(|_| gone())?
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
            auth: command.auth.as_ref(),
        }
        .headers();
        Ready { subject: command.subject, headers: header_map(&headers), body: command.body }
    }
}

/// Publishes a command within a span, if spans are exported.
async fn traced(
    mut command: Command,
    publish: impl AsyncFnOnce(Command) -> Result<Published, PublishError>,
) -> Result<Published, PublishError> {
    let Some(span) = StartedSpan::within(command.trace_parent.as_deref()) else { return publish(command).await };
    command.trace_parent = Some(span.trace_parent());
    let (subject, message_id) = (command.subject.clone(), command.id);
    let published = publish(command).await;
    let about = About { operation: "send", subject: &subject, message_id, correlation_id: message_id };
    about.end(span, [], published.as_ref().err().map(ToString::to_string));
    published
}

/// Publishes pending commands as groups, with few in flight: meanwhile the next group grows.
async fn publish_groups(js: jetstream::Context, mut pending: mpsc::Receiver<PendingCommand>) {
    let mut under_way = FuturesUnordered::new();
    let mut group = Vec::new();
    loop {
        tokio::select! {
            taken = pending.recv_many(&mut group, atomic::MAX_BATCH), if under_way.len() < GROUPS => {
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

async fn publish_group(js: &jetstream::Context, mut group: Vec<PendingCommand>) {
    if group.len() >= atomic::MIN_BATCH {
        match publish_batch(js, &group).await {
            Ok(last) => return complete_all(group, last),
            Err(error) => {
                tracing::debug!(%error, commands = group.len(), "a batch was not stored; its commands are sent one by one")
            }
        }
    }
    let mut acknowledgements = FuturesUnordered::new();
    for PendingCommand { ready, result } in group.drain(..) {
        let sent = send(js, ready).await;
        acknowledgements.push(async move {
            let published = match sent {
                Ok(sent) => acknowledgement(sent).await,
                Err(error) => Err(error),
            };
            // The caller may be gone.
            let _ = result.send(published);
        });
    }
    while acknowledgements.next().await.is_some() {}
}

/// Publishes a group as one batch; returns the sequence of its last message.
async fn publish_batch(js: &jetstream::Context, group: &[PendingCommand]) -> anyhow::Result<u64> {
    let client = js.client();
    let ready = group.iter().map(|pending| pending.ready.clone()).collect();
    let Some(last) = atomic::stage(&client, ready).await? else { bail!("an empty batch") };
    let request = client.request_with_headers(last.subject, last.headers, last.body);
    let reply = tokio::time::timeout(ACK_TIMEOUT, request).await.context("no acknowledgement in time")??;
    Ok(atomic::acknowledged(&reply)?.sequence)
}

/// Completes commands that were stored with consecutive sequences.
fn complete_all(group: Vec<PendingCommand>, last: u64) {
    for (offset, pending) in group.into_iter().rev().enumerate() {
        let sequence = last.saturating_sub(offset as u64);
        // The caller may be gone.
        let _ = pending.result.send(Ok(Published { sequence, duplicate: false }));
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

/// Distinguishes errors that a later attempt may resolve.
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
