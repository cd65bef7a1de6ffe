//! What the relay has sent and no stream has acknowledged yet: by number, for the acknowledgements that come, and by range,
//! for what is to be marked once all of a range is settled.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::Message;
use tokio::time::Instant;
use uuid::Uuid;

use crate::outbox::OutboxRow;
use crate::unpublished::Marks;

/// How long an acknowledgement may take: those that a server took to its grave never come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A row by its id, with the first row id of its range.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) range: Uuid,
}

impl From<&OutboxRow> for Row {
    fn from(row: &OutboxRow) -> Self {
        Self { id: row.row_id, range: row.range }
    }
}

/// What was sent of a range: twice as much, where a sweep was faster than the queue.
#[derive(Default)]
struct Sending {
    sent: usize,
    settled: usize,
    failed: Vec<Uuid>,
}

/// The ranges of which rows were sent and are not settled.
#[derive(Default)]
pub(crate) struct Ranges(HashMap<Uuid, Sending>);

impl Ranges {
    pub(crate) fn send(&mut self, row: Row) {
        self.0.entry(row.range).or_default().sent += 1;
    }

    /// Returns whether rows of a range were sent and are not settled.
    pub(crate) fn contains(&self, range: Uuid) -> bool {
        self.0.contains_key(&range)
    }

    /// Notes whether the stream has a row; where it was the last of its range, what is to be written goes to `marks`.
    pub(crate) fn settle(&mut self, row: Row, stored: bool, marks: &mut Marks) {
        let Entry::Occupied(mut entry) = self.0.entry(row.range) else { return };
        let range = entry.get_mut();
        range.settled += 1;
        if !stored {
            range.failed.push(row.id);
        }
        if range.settled < range.sent {
            return;
        }
        let range = entry.remove();
        // A range of which the stream has nothing stays what it is.
        if range.failed.len() < range.sent {
            marks.over.push(row.range);
            marks.left.extend(range.failed);
        }
    }
}

/// What was sent under one number.
pub(crate) enum Sent {
    One(Row),
    /// An atomic batch; kept whole, for where it is refused.
    Batch(Vec<OutboxRow>),
}

impl Sent {
    fn rows(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Batch(rows) => rows.len(),
        }
    }
}

/// What was sent and is not acknowledged, by number, in the order of sending.
pub(crate) struct InFlight {
    /// Acknowledgements come to `<inbox>.<number>`.
    inbox: String,
    next: u64,
    sent: BTreeMap<u64, (Sent, Instant)>,
    rows: usize,
}

impl InFlight {
    /// Begins with nothing; acknowledgements come below an inbox.
    pub(crate) fn new(inbox: String) -> Self {
        Self { inbox, next: 0, sent: BTreeMap::new(), rows: 0 }
    }

    /// Returns where all acknowledgements come.
    pub(crate) fn acknowledgements(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// Returns how many rows were sent and are not acknowledged.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns the number behind what was sent last.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// Returns whether something is under way that was sent before a number.
    pub(crate) fn has_before(&self, end: u64) -> bool {
        self.sent.range(..end).next().is_some()
    }

    /// Notes what is about to be sent, and returns where its acknowledgement comes.
    pub(crate) fn add(&mut self, sent: Sent) -> String {
        let number = self.next;
        self.next += 1;
        self.rows += sent.rows();
        self.sent.insert(number, (sent, Instant::now() + PATIENCE));
        format!("{}.{number}", self.inbox)
    }

    /// Returns what a reply acknowledges; none where that has been given up.
    pub(crate) fn take(&mut self, reply: &Message) -> Option<Sent> {
        let number = reply.subject.rsplit('.').next()?.parse().ok()?;
        let (sent, _) = self.sent.remove(&number)?;
        self.rows -= sent.rows();
        Some(sent)
    }

    /// Gives up what has waited for too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Row> {
        let mut expired = Vec::new();
        while let Some(first) = self.sent.first_entry().filter(|first| first.get().1 <= now) {
            match first.remove().0 {
                Sent::One(row) => expired.push(row),
                Sent::Batch(rows) => expired.extend(rows.iter().map(Row::from)),
            }
        }
        self.rows -= expired.len();
        expired
    }
}
