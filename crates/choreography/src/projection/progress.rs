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

/// Where a projection is after an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a sequence of the stream.
    Sequence(u64),
    /// In the history; `None` after its end.
    History(Option<Cursor>),
}
