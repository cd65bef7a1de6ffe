//! Publishes without an acknowledgement yet: by number, to match acknowledgements, and by pending batch, to record the
//! outcome once a batch is settled.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::Message;
use tokio::time::Instant;
use uuid::Uuid;

use crate::outbound::outbox::OutboxRow;
use crate::outbound::outbox_pending::{PublishOutcomes, Unpublishable};

/// The time limit of an acknowledgement: those of a server that crashed never arrive.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The outcome of publishing a row.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    /// The stream stored it.
    Stored,
    /// The stream did not store it, and may do so later.
    Left,
    /// The stream can never store it.
    Unpublishable(Box<Unpublishable>),
}

/// The publishes of one pending batch; a row that was published twice counts twice.
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

/// The pending batches with published rows that are not settled.
#[derive(Default)]
pub(crate) struct PendingBatches(HashMap<Uuid, Sending>);

impl PendingBatches {
    pub(crate) fn send(&mut self, row: &OutboxRow) {
        self.0.entry(row.batch).or_default().sent += 1;
    }

    /// Returns whether a batch has published rows that are not settled.
    pub(crate) fn contains(&self, batch: Uuid) -> bool {
        self.0.contains_key(&batch)
    }

    /// Records the outcome of a row; after the last row of its batch, adds the batch's outcome to `outcomes`.
    pub(crate) fn settle(&mut self, row: &OutboxRow, settled: Settled, outcomes: &mut PublishOutcomes) {
        let Entry::Occupied(mut entry) = self.0.entry(row.batch) else { return };
        let batch = entry.get_mut();
        match settled {
            Settled::Stored => batch.stored += 1,
            Settled::Left => batch.left.push(row.row_id),
            Settled::Unpublishable(row) => batch.unpublishable.push(*row),
        }
        if batch.settled() < batch.sent {
            return;
        }
        let batch = entry.remove();
        // A batch without any change stays pending as it is.
        if batch.left.len() < batch.sent {
            outcomes.over.push(row.batch);
            outcomes.left.extend(batch.left);
            outcomes.unpublishable.extend(batch.unpublishable);
        }
    }
}

/// What was published under one number.
pub(crate) enum Sent {
    /// A message; kept whole, like a batch, in case it is refused.
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

/// Publishes that are not acknowledged, by number, in order.
pub(crate) struct InFlight {
    /// Acknowledgements arrive on `<inbox>.<number>`.
    inbox: String,
    next: u64,
    sent: BTreeMap<u64, (Sent, Instant)>,
    rows: usize,
}

impl InFlight {
    /// Creates an empty set; acknowledgements arrive below `inbox`.
    pub(crate) fn new(inbox: String) -> Self {
        Self { inbox, next: 0, sent: BTreeMap::new(), rows: 0 }
    }

    /// Returns the subject filter for all acknowledgements.
    pub(crate) fn acknowledgements(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// Returns the number of rows that are not acknowledged.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns the number after the last publish.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    /// Returns whether a publish before a number is not acknowledged.
    pub(crate) fn has_before(&self, end: u64) -> bool {
        self.sent.range(..end).next().is_some()
    }

    /// Records a publish, and returns the subject for its acknowledgement.
    pub(crate) fn add(&mut self, sent: Sent) -> String {
        let number = self.next;
        self.next += 1;
        self.rows += sent.rows();
        self.sent.insert(number, (sent, Instant::now() + ACK_TIMEOUT));
        format!("{}.{number}", self.inbox)
    }

    /// Returns the publish that a reply acknowledges; `None` if it has expired.
    pub(crate) fn take(&mut self, reply: &Message) -> Option<Sent> {
        let number = reply.subject.rsplit('.').next()?.parse().ok()?;
        let (sent, _) = self.sent.remove(&number)?;
        self.rows -= sent.rows();
        Some(sent)
    }

    /// Removes and returns the last publish, because it failed to be sent.
    pub(crate) fn take_last(&mut self) -> Option<Sent> {
        let (_, (sent, _)) = self.sent.pop_last()?;
        self.rows -= sent.rows();
        Some(sent)
    }

    /// Removes and returns the publishes whose acknowledgement is overdue.
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
