//! Message processing without a broker, for tests.
//!
//! A [`LocalProcessor`] runs the code of a running [`Service`](crate::Service): it decodes messages, and handles them in
//! one transaction with inbox and outbox; it halves failed batches, and records failures and dead letters. The caller
//! passes in the deliveries, and gets what the relay would publish. The crate `choreography-test` builds given/when/then
//! on it.

#[cfg(feature = "sqlite")]
mod memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use async_nats::Message;
use bytes::Bytes;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::clock;
use crate::broker::limits::Limits;
use crate::inbound::consumer::Delivery;
use crate::inbound::handler::Handler;
use crate::inbound::inbox;
use crate::inbound::policies::Policies;
use crate::inbound::processor::Processor;
use crate::inbound::unknown_version::UnknownVersions;
use crate::outbound::outbox::OutboxRow;
use crate::outbound::outbox_pending::PublishOutcomes;
use crate::outbound::relay_handle::{Published, RelayHandle};
use crate::state::delivery_issue;
use crate::telemetry::health::Health;
use crate::wire::encoding::{self, EncodeError};
use crate::wire::envelope::{Attributes, Header, ROLLUP, SCHEDULE, SCHEDULE_TARGET, Timing, header_map};
use crate::wire::message::Publish;

#[cfg(feature = "sqlite")]
pub use memory::sqlite_in_memory;

/// The maximum number of messages per call: as many as a service handles in a batch by default.
pub const MAX_BATCH: usize = 256;
/// The number of attempts until a message becomes a dead letter; the default of a service.
pub const MAX_ATTEMPTS: u64 = 8;
/// How long the inbox remembers a message; the default of a service.
const RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);
/// The size limit of a message; the default of nats-server.
const MAX_PAYLOAD: usize = 1024 * 1024;
/// The time limit of one call, such as for a database that does not respond.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A message as a stream stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The NATS subject.
    pub subject: String,
    /// The headers; see [`envelope`](crate::envelope).
    pub headers: Vec<Header>,
    /// The body, JSON.
    pub body: Bytes,
}

impl StoredMessage {
    /// Encodes a message that begins a flow, as its declared producer publishes it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`].
    pub fn of(message: &impl Publish, id: Uuid, time: OffsetDateTime) -> Result<Self, EncodeError> {
        let attributes = Attributes {
            id,
            message_type: message.message_type(),
            source: &format!("/{}", message.info().producer),
            key: message.key(),
            time,
            correlation_id: id,
            causation_id: None,
            aggregate_version: None,
            trace_parent: None,
            auth: None,
        };
        Ok(Self {
            subject: message.subject(),
            headers: attributes.headers(),
            body: encoding::body(message)?.into(),
        })
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Returns when the server delivers it; [`Timing::Now`] if its headers say nothing else.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let time = self.header(SCHEDULE).and_then(|schedule| schedule.strip_prefix("@at "));
        match (time.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok()), self.header(SCHEDULE_TARGET)) {
            (Some(time), Some(target)) => Timing::At { time, target: target.to_owned() },
            _ if self.header(ROLLUP).is_some() => Timing::Cancel,
            _ => Timing::Now,
        }
    }
}

impl From<OutboxRow> for StoredMessage {
    fn from(row: OutboxRow) -> Self {
        Self { subject: row.subject, headers: row.headers, body: row.body }
    }
}

/// The outcome of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was handled and committed.
    Handled,
    /// The inbox contained it: it was dropped.
    Duplicate,
    /// It failed, and a broker would redeliver it.
    Failed {
        /// The error's text.
        detail: String,
    },
    /// It became a dead letter.
    DeadLettered {
        /// The text form of a [`Reason`](crate::dead_letter::Reason), such as `rejected`.
        reason: String,
        /// The error's text.
        detail: String,
    },
}

/// The result of processing a batch.
#[derive(Debug, Clone)]
pub struct Processed {
    /// The outcome of each message.
    pub outcomes: Vec<Outcome>,
    /// The messages that the relay would publish, in order; with dead letters.
    pub published: Vec<StoredMessage>,
}

/// Processes the messages of a service without a broker.
pub struct LocalProcessor<H: Handler> {
    processor: Processor<H>,
    committed: mpsc::Receiver<Vec<OutboxRow>>,
    /// The number of deliveries so far.
    delivered: u64,
}

impl<H: Handler> LocalProcessor<H> {
    /// Creates a processor with the default policies of a service.
    pub fn new(service: &'static str, db: DatabaseConnection, handler: H) -> Self {
        // Room for a commit and a dead letter per message: rows that do not fit would be left to a recovery scan.
        let (sender, committed) = mpsc::channel(2 * MAX_BATCH);
        let owner = Uuid::now_v7();
        let relay = RelayHandle {
            committed: sender,
            published: Published::new(owner),
            owner,
            limits: Arc::new(Limits::new(&[], MAX_PAYLOAD)),
        };
        let processor = Processor {
            db,
            handler: Arc::new(handler),
            service,
            source: format!("/{service}"),
            relay,
            health: Health::default(),
            retention: RETENTION,
            max_attempts: MAX_ATTEMPTS,
            policies: Policies::default(),
            duplicates: AtomicBool::new(false),
            unknown_versions: UnknownVersions::default(),
            shutdown: CancellationToken::new(),
        };
        Self { processor, committed, delivered: 0 }
    }

    /// Processes messages as one batch of deliveries.
    ///
    /// # Errors
    ///
    /// If there are more than [`MAX_BATCH`] messages, or the database fails or does not respond within 30 s.
    pub async fn process(&mut self, messages: &[StoredMessage]) -> anyhow::Result<Processed> {
        anyhow::ensure!(messages.len() <= MAX_BATCH, "a batch has at most {MAX_BATCH} messages");
        let deliveries: Vec<_> = messages.iter().map(|message| self.delivery(message)).collect();
        let items: Vec<_> = deliveries.into_iter().map(|delivery| self.processor.decode(delivery)).collect();
        let ids: Vec<_> = items.iter().map(|item| self.processor.inbox_id(item)).collect();
        let processing = Box::pin(self.processor.process(items));
        tokio::time::timeout(TIMEOUT, processing).await.context("the database has not responded for 30 s")?;
        let mut rows = Vec::new();
        while let Ok(committed) = self.committed.try_recv() {
            rows.extend(committed);
        }
        // As if the stream had stored them; the next transaction deletes them from `outbox_pending`.
        let mut over: Vec<_> = rows.iter().map(|row| row.batch).collect();
        over.dedup();
        self.processor.relay.published().add(PublishOutcomes { over, ..PublishOutcomes::default() });
        let outcomes = self.outcomes(&ids).await?;
        Ok(Processed { outcomes, published: rows.into_iter().map(StoredMessage::from).collect() })
    }

    fn delivery(&mut self, message: &StoredMessage) -> Delivery {
        self.delivered += 1;
        let message = Message {
            subject: message.subject.as_str().into(),
            reply: None,
            payload: message.body.clone(),
            headers: Some(header_map(&message.headers)),
            status: None,
            description: None,
            length: message.body.len(),
        };
        Delivery::without_broker(message, "TEST", self.delivered, clock::now())
    }

    /// Reads the outcomes of messages from the tables `delivery_issues` and `inbox`.
    async fn outcomes(&self, ids: &[Uuid]) -> anyhow::Result<Vec<Outcome>> {
        use delivery_issue::entity::{Column, Entity};
        let issues = Entity::find().filter(Column::MessageId.is_in(ids.iter().copied()));
        let issues = issues.all(&self.processor.db).await?.into_iter().map(|issue| (issue.message_id, issue));
        let mut issues: HashMap<_, _> = issues.collect();
        let mut outcomes = Vec::with_capacity(ids.len());
        for id in ids {
            outcomes.push(match issues.remove(id) {
                None => Outcome::Handled,
                Some(issue) if issue.duplicates > 0 => Outcome::Duplicate,
                Some(issue) => {
                    let detail = issue.detail.unwrap_or_default();
                    match issue.reason {
                        Some(reason) => Outcome::DeadLettered { reason, detail },
                        None if self.is_handled(*id).await? => Outcome::Handled,
                        None => Outcome::Failed { detail },
                    }
                }
            });
        }
        Ok(outcomes)
    }

    /// Returns whether the inbox contains a message.
    async fn is_handled(&self, id: Uuid) -> Result<bool, DbErr> {
        Ok(inbox::entity::Entity::find_by_id(id).one(&self.processor.db).await?.is_some())
    }
}
