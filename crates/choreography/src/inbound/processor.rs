//! Message processing: a batch of deliveries, end to end, in one transaction.
//!
//! ```text
//! decode ─► BEGIN ─► inbox: keep first deliveries ─► handler ─► outbox rows ─► COMMIT ─► ack the batch
//!                                                                                └────► relay
//! ```
//!
//! A batch that fails by the fault of a message is halved until that message is alone, so that it never blocks the
//! others. A batch that fails by the fault of the database is retried whole, in place, until it commits: no message is
//! at fault, and none uses up an attempt ([`fault`](crate::state::fault), [`retry`](crate::inbound::retry)).

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use futures::FutureExt;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::clock;
use crate::inbound::consumer::Delivery;
use crate::inbound::failure::Failure;
use crate::inbound::handler::{HandleError, Handler};
use crate::inbound::inbox::{self, Received};
use crate::inbound::item::{Item, push_halves};
use crate::inbound::policies::Policies;
use crate::inbound::redrive;
use crate::inbound::unknown_version::UnknownVersions;
use crate::outbound::dead_letter::{Origin, Reason};
use crate::outbound::outbox::OutboxRow;
use crate::outbound::outbox_pending::{self, PublishOutcomes};
use crate::outbound::relay_handle::RelayHandle;
use crate::state::database::answered;
use crate::state::delivery_issue;
use crate::telemetry::health::Health;
use crate::telemetry::metrics;
use crate::telemetry::spans::{Created, StartedSpan};
use crate::wire::envelope::{self, Envelope, Malformed, unix_millis};

/// The [`Health`] part for commits of batches.
pub(crate) const DATABASE: &str = "database";

/// How far in the future a message's time may be: the clock skew that is not reported.
const MAX_AHEAD: Duration = clock::MAX_SKEW;
/// How long a shutdown waits for queued deliveries, and for a transaction that does not end.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The processor of a service. Without a handler it is a `Processor<()>`.
pub(crate) struct Processor<H> {
    pub(crate) db: DatabaseConnection,
    pub(crate) handler: Arc<H>,
    pub(crate) service: &'static str,
    pub(crate) source: String,
    pub(crate) relay: RelayHandle,
    pub(crate) health: Health,
    /// How long the inbox remembers a message.
    pub(crate) retention: Duration,
    /// How often a message may fail before it becomes a dead letter.
    pub(crate) max_attempts: u64,
    pub(crate) policies: Policies,
    /// Whether the last batch contained duplicates.
    pub(crate) duplicates: AtomicBool,
    /// The versions that this instance does not know and received lately.
    pub(crate) unknown_versions: UnknownVersions,
    pub(crate) shutdown: CancellationToken,
}

impl Processor<()> {
    /// Returns the processor with a handler.
    pub(crate) fn with_handler<H: Handler>(self, handler: Arc<H>) -> Processor<H> {
        let Self {
            db,
            handler: _,
            service,
            source,
            relay,
            health,
            retention,
            max_attempts,
            policies,
            duplicates,
            unknown_versions,
            shutdown,
        } = self;
        Processor {
            db,
            handler,
            service,
            source,
            relay,
            health,
            retention,
            max_attempts,
            policies,
            duplicates,
            unknown_versions,
            shutdown,
        }
    }
}

impl<H: Handler> Processor<H> {
    /// Handles queued deliveries until all pullers have stopped and the queue is empty, and redrives between two
    /// batches.
    ///
    /// A small batch costs nearly as much as a large one. So after a batch, messages accumulate for as long as that
    /// batch took, within [`Policies::batch_linger`]; a single message after a pause does not wait.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Delivery>, mut redrives: mpsc::Receiver<redrive::Job>) {
        let Policies { max_batch, batch_linger, .. } = self.policies;
        let mut deliveries = Vec::with_capacity(max_batch);
        let mut deadline = None;
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                arrived = queue.recv_many(&mut deliveries, max_batch) => if arrived == 0 { return },
                Some(job) = redrives.recv() => {
                    self.redrive(job).await;
                    continue;
                }
                () = self.unknown_versions.expired() => {
                    self.unknown_versions.forget_expired(&self.health);
                    continue;
                }
            }
            if self.shutdown.is_cancelled()
                && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + DRAIN)
            {
                for delivery in deliveries.drain(..) {
                    delivery.settle(AckKind::Nak(None)).await;
                }
                continue;
            }
            if deliveries.len() < max_batch {
                tokio::time::sleep_until(not_before).await;
                deliveries.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(max_batch - deliveries.len()));
            }
            let began = Instant::now();
            let items = deliveries.drain(..).map(|delivery| self.decode(delivery)).collect();
            self.process(items).await;
            not_before = Instant::now() + began.elapsed().min(batch_linger);
        }
    }

    pub(crate) fn decode(&self, delivery: Delivery) -> Item<H::Message> {
        let message = &delivery.message;
        let decoded = envelope::decode(message.subject.as_str(), message.headers.as_ref(), &message.payload)
            .and_then(
                |envelope| if delivery.is_republished() { self.check_remembered(envelope) } else { Ok(envelope) },
            );
        let span = decoded.as_ref().ok().and_then(|envelope| StartedSpan::within(envelope.trace_parent.as_deref()));
        // Messages caused by this one have the span of its processing as their parent.
        let decoded = match span {
            Some(span) => decoded.map(|envelope| Envelope { trace_parent: Some(span.trace_parent()), ..envelope }),
            None => decoded,
        };
        Item { delivery, decoded, span }
    }

    /// Refuses a republished message that the inbox may have forgotten.
    fn check_remembered(&self, envelope: Envelope<H::Message>) -> Result<Envelope<H::Message>, Malformed> {
        let age = clock::now() - envelope.time;
        // A time in the future was written by a clock that was ahead: the age of the message is unknown.
        if age < self.retention && age + MAX_AHEAD > time::Duration::ZERO {
            return Ok(envelope);
        }
        Err(Malformed::DedupWindowExpired(format!(
            "it was created at {} and republished; the inbox remembers {} s",
            envelope::rfc3339(envelope.time),
            self.retention.as_secs()
        )))
    }

    /// Handles a whole batch; if it fails by the fault of a message, in halves, until that message is alone.
    pub(crate) async fn process(&self, items: Vec<Item<H::Message>>) {
        let items = self.put_off_unknown_versions(items).await;
        if items.is_empty() {
            return;
        }
        let mut parts = vec![items.as_slice()];
        while let Some(part) = parts.pop() {
            match (self.commit_and_settle(part).await, part) {
                (Ok(()), _) => {}
                (Err(error), [item]) => Box::pin(self.settle_failure(item, &error)).await,
                (Err(error), _) => {
                    tracing::debug!(batch = part.len(), %error, "the batch failed; the service tries its halves");
                    push_halves(&mut parts, part);
                }
            }
        }
    }

    /// Commits the batch and settles it, waiting until the database is available.
    ///
    /// Returns the handler's error if a message is at fault; then nothing is written or settled.
    async fn commit_and_settle(&self, items: &[Item<H::Message>]) -> Result<(), HandleError> {
        let Some(rows) = self.through_outages(items, || self.commit(items)).await? else { return Ok(()) };
        self.relay.offer(rows);
        self.handler.committed();
        for item in items {
            let kind = if item.decoded.is_ok() { AckKind::Ack } else { AckKind::Term };
            item.delivery.settle(kind).await;
        }
        Ok(())
    }

    /// Runs one transaction: inbox, handler, outbox, and the outcomes of publishing since the last batch.
    async fn commit(&self, items: &[Item<H::Message>]) -> Result<Vec<OutboxRow>, Failure> {
        let outcomes = self.relay.published().take();
        let committed = self.commit_with(items, &outcomes).await;
        if committed.is_err() {
            self.relay.published().add(outcomes);
        }
        committed
    }

    async fn commit_with(
        &self,
        items: &[Item<H::Message>],
        outcomes: &PublishOutcomes,
    ) -> Result<Vec<OutboxRow>, Failure> {
        let (now, began) = (clock::now(), Instant::now());
        let (tx, first) = answered(self.begin(items)).await?;
        let sorted = self.sort(items, first, now);
        let (mut rows, mut delivery_issues, mut created) = (Vec::new(), Vec::new(), None);
        for (item, malformed) in &sorted.malformed {
            let (reason, detail) = (malformed.reason(), malformed.to_string());
            let origin = self.origin(&item.delivery, item.attempts());
            rows.push(origin.row(reason, &detail, now));
            delivery_issues.push(origin.delivery_issue(reason, &detail, now));
        }
        if !sorted.batch.is_empty() {
            // All times of a transaction are equal: that of a recorded event is that of the published one.
            let mut outgoing = match clock::at(now, self.handle(&tx, &sorted.batch)).await {
                Ok(outgoing) => outgoing,
                Err(failure) => return Err(failure.roll_back(tx).await),
            };
            created = Some(Created::of(&mut outgoing));
            rows.extend(self.relay.rows(outgoing, &self.source, now)?);
        }
        let repeated: HashSet<Uuid> = sorted.duplicates.keys().copied().collect();
        let writing = async {
            // After the dead letters: a dead-lettered message may occur twice in this batch.
            delivery_issue::record(&tx, delivery_issues).await?;
            delivery_issue::record(&tx, sorted.duplicates.into_values().collect()).await?;
            self.relay.insert(&tx, &mut rows).await?;
            // An error here is not the fault of these messages.
            outbox_pending::record(&tx, outcomes).await.map_err(|error| Failure::Outage(error.into()))?;
            Ok::<_, Failure>(tx.commit().await?)
        };
        answered(writing).await?;
        if let Some(created) = created {
            created.committed();
        }
        for (item, malformed) in &sorted.malformed {
            self.report_dead_letter(item, malformed.reason(), &malformed.to_string(), item.attempts());
        }
        items.iter().for_each(|item| item.end_span(self.service, repeated.contains(&self.inbox_id(item)), None));
        let duplicates = items.len() - sorted.batch.len() - sorted.malformed.len();
        let types = sorted.batch.iter().map(|envelope| envelope.message_type.as_str());
        metrics::committed(began.elapsed(), types, duplicates as u64, items.len());
        Ok(rows)
    }

    /// Sorts a batch into first deliveries, malformed messages, and duplicates.
    fn sort<'a>(
        &self,
        items: &'a [Item<H::Message>],
        mut first: HashSet<Uuid>,
        now: OffsetDateTime,
    ) -> Sorted<'a, H::Message> {
        let mut sorted =
            Sorted { batch: Vec::with_capacity(items.len()), malformed: Vec::new(), duplicates: HashMap::new() };
        for item in items {
            // Removed, so that a message delivered twice within one batch is handled once.
            let id = self.inbox_id(item);
            if first.remove(&id) {
                match &item.decoded {
                    Ok(envelope) => sorted.batch.push(envelope),
                    Err(malformed) => sorted.malformed.push((item, malformed)),
                }
                continue;
            }
            let delivery = &item.delivery;
            // A stream restore redelivers all handled messages; these duplicates are not recorded.
            if delivery.is_republished() {
                continue;
            }
            let new = || self.origin(delivery, 0).plain_delivery_issue(id, now);
            count_duplicate(sorted.duplicates.entry(id).or_insert_with(new), delivery);
        }
        sorted
    }

    /// Begins a transaction with the inbox insert, and returns the first deliveries.
    ///
    /// Usually all messages are new, and then the insert need not return their ids. The ids are requested only after a
    /// batch contained duplicates, until one contains none.
    async fn begin(&self, items: &[Item<H::Message>]) -> Result<(DatabaseTransaction, HashSet<Uuid>), DbErr> {
        let received: Vec<Received> = items.iter().map(|item| self.received(item)).collect();
        if !self.duplicates.load(Ordering::Relaxed) {
            let tx = self.db.begin().await?;
            if inbox::are_all_new(&tx, &received).await? {
                return Ok((tx, received.into_iter().map(|received| received.id).collect()));
            }
            tx.rollback().await?;
        }
        let tx = self.db.begin().await?;
        let first = inbox::first_deliveries(&tx, &received).await?;
        self.duplicates.store(first.len() < received.len(), Ordering::Relaxed);
        Ok((tx, first))
    }

    /// Calls the handler. A panic or a time-out is an error of the message that caused it, and does not end the
    /// process.
    pub(crate) async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<H::Message>],
    ) -> Result<Vec<envelope::Outgoing>, Failure> {
        let handling = AssertUnwindSafe(self.handler.handle(tx, batch)).catch_unwind();
        match tokio::time::timeout(self.policies.handler_timeout, handling).await {
            Ok(Ok(handled)) => handled.map_err(Failure::from),
            Ok(Err(_)) => Err(Failure::Message(HandleError::Retry(anyhow::anyhow!("the handler panicked")))),
            Err(_) => Err(Failure::Timeout(self.policies.handler_timeout)),
        }
    }

    pub(crate) fn received(&self, item: &Item<H::Message>) -> Received {
        Received { id: self.inbox_id(item), at: unix_millis(item.delivery.stored) }
    }

    pub(crate) fn inbox_id(&self, item: &Item<H::Message>) -> Uuid {
        match &item.decoded {
            Ok(envelope) => envelope.id,
            Err(malformed) => self.origin(&item.delivery, 0).inbox_id(malformed.reason()),
        }
    }

    pub(crate) fn origin<'a>(&'a self, delivery: &'a Delivery, attempts: u64) -> Origin<'a> {
        Origin {
            service: self.service,
            stream: &delivery.stream,
            sequence: delivery.sequence,
            stored: Some(delivery.stored),
            subject: delivery.message.subject.as_str(),
            attempts,
            headers: delivery.message.headers.as_ref(),
            body: delivery.message.payload.clone(),
        }
    }
}

/// A batch, sorted by how its messages are handled.
struct Sorted<'a, M> {
    batch: Vec<&'a Envelope<M>>,
    malformed: Vec<(&'a Item<M>, &'a Malformed)>,
    duplicates: HashMap<Uuid, delivery_issue::entity::Model>,
}

/// Counts one more duplicate.
fn count_duplicate(row: &mut delivery_issue::entity::Model, delivery: &Delivery) {
    row.duplicates += 1;
    row.duplicate_at = Some(row.updated_at);
    row.sequence = i64::try_from(delivery.sequence).unwrap_or(i64::MAX);
}

impl Malformed {
    fn reason(&self) -> Reason {
        match self {
            Self::Undecodable(_) => Reason::Undecodable,
            Self::UnknownVersion(_) => Reason::UnknownVersion,
            Self::SourceMismatch(_) => Reason::SourceMismatch,
            Self::DedupWindowExpired(_) => Reason::DedupWindowExpired,
        }
    }
}
