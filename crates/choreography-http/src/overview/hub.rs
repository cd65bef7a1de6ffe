//! Connects the follower to its clients.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use poem_openapi::types::ToJSON;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use super::representation::OverviewMessages;

/// How many frames are buffered for a client, about three seconds; a slower client misses frames.
const BUFFER: usize = 16;

/// A frame that is sent to every client: the name of its event, and its JSON.
pub(super) type Frame = (&'static str, Arc<str>);

/// Connects the follower to its clients.
pub(super) struct Hub {
    frames: broadcast::Sender<Frame>,
    /// The latest state, for new clients; none while nothing follows.
    latest: Mutex<Option<Frame>>,
    client_connected: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        let (frames, latest) = (broadcast::Sender::new(BUFFER), Mutex::default());
        Self { frames, latest, client_connected: Notify::new() }
    }
}

impl Hub {
    /// Sends a sample of messages to all clients.
    pub(super) fn send_messages(&self, messages: &OverviewMessages) {
        // The last client may have disconnected; that is not an error.
        self.frames.send(("messages", messages.to_json_string().into())).unwrap_or_default();
    }

    /// Sends the state, and keeps it for clients that connect before the next one.
    pub(super) fn send_state(&self, json: String) {
        let frame: Frame = ("state", json.into());
        self.keep(Some(frame.clone()));
        self.frames.send(frame).unwrap_or_default();
    }

    pub(super) fn keep(&self, state: Option<Frame>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.frames.receiver_count() > 0
    }

    /// Waits until there is a client.
    pub(super) async fn wait_for_client(&self) {
        while !self.is_watched() {
            self.client_connected.notified().await;
        }
    }

    /// Returns the frames for a new client.
    pub(super) fn watch(&self) -> impl Stream<Item = Frame> + Send + use<> {
        let frames = self.frames.subscribe();
        self.client_connected.notify_one();
        let first = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rest = futures::stream::unfold(frames, |mut frames| async move {
            loop {
                match frames.recv().await {
                    Ok(frame) => return Some((frame, frames)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        futures::stream::iter(first).chain(rest)
    }
}
