//! What the relay has sent and no stream has acknowledged yet: by number, for the acknowledgements that come, and by range,
//! for what is to be marked once all of a range is settled.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::Message;
use tokio::time::Instant;
use uuid::Uuid;

use crate::outbox::OutboxRow;
use crate::outbox_pending::{PublishOutcomes, Unpublishable};

/// How long an acknowledgement may take: those that a server took to its grave never come.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a row.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    /// The stream has it.
    Stored,
    /// The stream does not have it, and may take it later.
    Left,
    /// The stream will never take it.
    Unpublishable(Box<Unpublishable>),
}

/// What was sent of a range: a row counts twice if it was sent twice.
#[derive(Default)]
struct Sending {
    sent: usize,
    stored: usize,
    left: Vec<Uuid>,
    unpublishable: Vec<Unpublishable>,
}

impl Sending {
    fn settled(&self) -> usize {
        self.stored + self.left.len() + self.unpublishable.len()
    }
}

/// The ranges of which rows were sent and are not settled.
#[derive(Default)]
pub(crate) struct PendingBatches(HashMap<Uuid, Sending>);

impl PendingBatches {
    pub(crate) fn send(&mut self, row: &OutboxRow) {
        self.0.entry(row.range).or_default().sent += 1;
    }

    /// Returns whether rows of a range were sent and are not settled.
    pub(crate) fn contains(&self, range: Uuid) -> bool {
        self.0.contains_key(&range)
    }

    /// Notes what became of a row; if it was the last of its range, what is to be written goes to `outcomes`.
    pub(crate) fn settle(&mut self, row: &OutboxRow, settled: Settled, outcomes: &mut PublishOutcomes) {
        let Entry::Occupied(mut entry) = self.0.entry(row.range) else { return };
        let range = entry.get_mut();
        match settled {
            Settled::Stored => range.stored += 1,
            Settled::Left => range.left.push(row.row_id),
            Settled::Unpublishable(row) => range.unpublishable.push(*row),
        }
        if range.settled() < range.sent {
            return;
        }
        let range = entry.remove();
        // A range of which nothing has changed stays what it is.
        if range.left.len() < range.sent {
            outcomes.over.push(row.range);
            outcomes.left.extend(range.left);
            outcomes.unpublishable.extend(range.unpublishable);
        }
    }
}

/// What was sent under one number.
pub(crate) enum Sent {
    /// A message; kept whole, like a batch, for what is to be done if it is refused.
    One(OutboxRow),
    /// An atomic batch.
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
        self.sent.insert(number, (sent, Instant::now() + ACK_TIMEOUT));
        format!("{}.{number}", self.inbox)
    }

    /// Returns what a reply acknowledges; none where that has been given up.
    pub(crate) fn take(&mut self, reply: &Message) -> Option<Sent> {
        let number = reply.subject.rsplit('.').next()?.parse().ok()?;
        let (sent, _) = self.sent.remove(&number)?;
        self.rows -= sent.rows();
        Some(sent)
    }

    /// Returns what was sent under the last number, because it could not be sent after all.
    pub(crate) fn take_last(&mut self) -> Option<Sent> {
        let (_, (sent, _)) = self.sent.pop_last()?;
        self.rows -= sent.rows();
        Some(sent)
    }

    /// Returns what has waited for an acknowledgement for too long, and waits for it no more.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<OutboxRow> {
        let mut expired = Vec::new();
        while let Some(first) = self.sent.first_entry().filter(|first| first.get().1 <= now) {
            match first.remove().0 {
                Sent::One(row) => expired.push(row),
                Sent::Batch(rows) => expired.extend(rows),
            }
        }
        self.rows -= expired.len();
        expired
    }
}
