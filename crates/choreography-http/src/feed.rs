//! A live feed of a stream as server-sent events, resumable at any message.
//!
//! Each connection follows the stream with a consumer of its own ([`StreamFollower`]).

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream;
use poem_openapi::Object;
use poem_openapi::types::ToJSON;
use tokio::sync::mpsc;

use crate::parameter::EventId;
use crate::problem::{Problem, unavailable};
use crate::sse::{SseConnections, SseEvent, SseEvents};
use crate::stream_follower::{Follow, Followed, FollowedMessage, ResetReason, StreamFollower};

/// Events buffered for a slow client; further ones wait in the stream.
const BUFFER: usize = 64;
/// How long creating the first consumer may take.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(5);

/// The feed has a gap after the client's last event; the client must read the current state again.
#[derive(Debug, Object)]
pub struct FeedReset {
    /// The reason of the gap.
    reason: ResetReason,
}

/// Serves feeds.
#[derive(Debug, Clone)]
pub struct Feed {
    client: Client,
    js: jetstream::Context,
    program: &'static str,
    connections: SseConnections,
}

impl Feed {
    /// Serves feeds of the streams of `js` as the program `program`.
    #[must_use]
    pub fn new(client: Client, js: jetstream::Context, program: &'static str, connections: SseConnections) -> Self {
        Self { client, js, program, connections }
    }

    /// Follows the subjects `filter` of a stream: new messages, or those after `last`. `read` makes an event of a
    /// message, or skips it. After a gap there is an event `reset` with a [`FeedReset`].
    ///
    /// Creates the first consumer, so that its failure becomes an HTTP response.
    ///
    /// # Errors
    ///
    /// The problem of too many connections, or of a stream that is unavailable.
    pub async fn follow<T: Send + 'static>(
        &self,
        stream: &'static str,
        filter: Vec<String>,
        last: Option<EventId>,
        read: fn(&FollowedMessage) -> Option<SseEvent<T>>,
    ) -> Result<SseEvents<T>, Problem> {
        let permit = self.connections.reserve()?;
        if self.client.connection_state() != State::Connected {
            return Err(unavailable("there is no connection to nats-server"));
        }
        let follow = Follow { program: self.program, stream, filter, headers_only: false, batch: BUFFER };
        let mut follower = StreamFollower::new(self.client.clone(), self.js.clone(), follow, last);
        match tokio::time::timeout(CONSUMER_TIMEOUT, follower.open()).await {
            Ok(opened) => opened.map_err(|error| unavailable(&format!("the events: {error}")))?,
            Err(_) => return Err(unavailable("JetStream did not create a consumer in time")),
        }
        // The task ends when the response does, which drops the receiver.
        let (sender, receiver) = mpsc::channel(BUFFER);
        tokio::spawn(async move {
            tokio::select! {
                () = send(follower, read, &sender) => {}
                () = sender.closed() => {}
            }
        });
        let events =
            futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        Ok(self.connections.send(events, permit))
    }
}

/// Sends events until the client disconnects.
async fn send<T>(
    mut follower: StreamFollower,
    read: fn(&FollowedMessage) -> Option<SseEvent<T>>,
    sender: &mpsc::Sender<SseEvent<T>>,
) {
    loop {
        let event = match follower.next().await {
            Followed::Message(message) => read(&message),
            Followed::Reset(id, reason) => {
                Some(SseEvent::new(Some(id), "reset", FeedReset { reason }.to_json_string()))
            }
        };
        if let Some(event) = event
            && sender.send(event).await.is_err()
        {
            return;
        }
    }
}
