//! How far a projection has read: its position in the stream, and its cursor in the event stores.

use serde::{Deserialize, Serialize};

use crate::state::event_page::EventKey;

/// Where a backfill continues: in the event store of a context, after a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cursor {
    pub(crate) context: String,
    pub(crate) after: Option<EventKey>,
}

impl Cursor {
    pub(crate) fn start(context: &str) -> Self {
        Self { context: context.to_owned(), after: None }
    }
}

/// A message of the stream. A stream that was restored from an older state has another message at a sequence, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// 0 before the first message.
    pub(crate) sequence: u64,
    /// When it was stored, in milliseconds since 1970; 0 if that is unknown.
    pub(crate) stored_at: i64,
}

/// Where a projection is after an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a message of the stream.
    Stream(Position),
    /// In the history; `None` after its end.
    History(Option<Cursor>),
}
