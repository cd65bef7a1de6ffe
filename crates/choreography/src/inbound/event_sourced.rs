//! A handler out of `decide` and `evolve`: event-sourced aggregates.
//!
//! The state of an aggregate is a fold over its history. A message is decided on that state; the decided events extend
//! the history and are published, in one transaction. The pattern is the decider of Jérémie Chassaing
//! (<https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider>).

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};
use time::OffsetDateTime;

use crate::broker::clock;
use crate::inbound::deadline::Change;
pub use crate::inbound::deadline::Deadline;
use crate::inbound::handler::{AggregateStatus, HandleError, Handler};
use crate::state::event_store;
use crate::state::snapshot::{self, Snapshot, Snapshots};
use crate::wire::envelope::{Envelope, Outgoing, from_unix_millis, unix_millis};
use crate::wire::message::{DecodeError, Kind, Messages, Publish, UnknownVersion};

/// The rules of an event-sourced aggregate. [`EventSourced`] makes a handler of it.
///
/// `decide` and `evolve` are pure: no I/O, no clock.
pub trait Decider: Send + Sync + 'static {
    /// The closed set of messages that concern the aggregate. The key of each is the aggregate's id.
    type Message: Messages + Send + Sync + 'static;
    /// The events that it decides.
    type Event: Messages + Publish + Send + Sync;
    /// The state of one aggregate; the default is that without a history.
    type State: Default + Send + Sync;

    /// Whether and how often the state is kept as a snapshot, so that a long history is not read whole; by default never.
    /// A history of some hundred events is read as fast without snapshots.
    const SNAPSHOTS: Option<Snapshots<Self::State>> = None;

    /// Returns the events that a message causes; none if it changes nothing.
    fn decide(&self, state: &Self::State, message: &Envelope<Self::Message>) -> Vec<Self::Event>;

    /// Returns the state after an event of the history.
    fn evolve(&self, state: Self::State, event: &Self::Event) -> Self::State;

    /// Returns whether an event belongs to the history. A refusal does not: it is published, and changes nothing.
    fn is_recorded(&self, _event: &Self::Event) -> bool {
        true
    }

    /// Returns the deadline of a state, which a timer delivers: [`Deadline::after`] or [`Deadline::at`].
    fn deadline(&self, _id: &str, _state: &Self::State) -> Option<Deadline> {
        None
    }

    /// Writes what is derived from the changed aggregates, such as a read model, in the same transaction.
    ///
    /// # Errors
    ///
    /// As [`Handler::handle`].
    fn save(
        &self,
        _tx: &DatabaseTransaction,
        _changed: &[Changed<'_, Self::State>],
        _now: OffsetDateTime,
    ) -> impl Future<Output = Result<(), HandleError>> + Send {
        async { Ok(()) }
    }

    /// Returns the status of an aggregate; as [`Handler::status`].
    ///
    /// # Errors
    ///
    /// If the database does not respond.
    fn status(
        &self,
        _db: &DatabaseConnection,
        _key: &str,
    ) -> impl Future<Output = anyhow::Result<Option<AggregateStatus>>> + Send {
        async { Ok(None) }
    }
}

/// An aggregate that a batch has changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Changed<'a, S> {
    /// Its id.
    pub id: &'a str,
    /// Its state after the batch.
    pub state: &'a S,
    /// Its version: the number of events in its history.
    pub version: i64,
    /// When its first event was recorded.
    pub created_at: OffsetDateTime,
}

/// Returns whether a type is that of a timer.
fn is_timer<M: Messages>(message_type: &str) -> bool {
    M::MESSAGES.iter().any(|info| info.kind == Kind::Timer && info.message_type == message_type)
}

/// The [`Handler`] of an event-sourced aggregate: loads the histories of a batch, decides message by message, and saves
/// all of it.
#[derive(Debug, Clone)]
pub struct EventSourced<D>(pub D);

impl<D: Decider> Handler for EventSourced<D> {
    type Message = D::Message;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<D::Message>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let now = clock::now();
        let mut loaded = Loaded::of(&self.0, tx, batch, now).await?;
        for message in batch {
            loaded.decide(message)?;
        }
        loaded.save(tx).await
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        self.0.status(db, key).await
    }
}

/// One aggregate while a batch is decided.
pub(crate) struct Aggregate<S> {
    pub(crate) state: S,
    pub(crate) version: i64,
    /// The version of its snapshot; 0 without one.
    snapshot: i64,
    created_at: OffsetDateTime,
    is_changed: bool,
}

/// The aggregates that a batch concerns, and the messages decided so far.
struct Loaded<'a, D: Decider> {
    decider: &'a D,
    aggregates: BTreeMap<&'a str, Aggregate<D::State>>,
    recorded: Vec<Outgoing>,
    /// Refusals and timers: published, and not part of a history.
    unrecorded: Vec<Outgoing>,
    now: OffsetDateTime,
}

impl<'a, D: Decider> Loaded<'a, D> {
    async fn of(
        decider: &'a D,
        tx: &DatabaseTransaction,
        batch: &[&'a Envelope<D::Message>],
        now: OffsetDateTime,
    ) -> Result<Self, HandleError> {
        let aggregates = load(decider, tx, batch.iter().map(|message| message.key.as_str()), now).await?;
        Ok(Self { decider, aggregates, recorded: Vec::new(), unrecorded: Vec::new(), now })
    }

    fn decide(&mut self, message: &Envelope<D::Message>) -> Result<(), HandleError> {
        let (decider, id) = (self.decider, message.key.as_str());
        let Some(aggregate) = self.aggregates.get_mut(id) else { return Ok(()) };
        let events = decider.decide(&aggregate.state, message);
        let fired = is_timer::<D::Message>(&message.message_type);
        if events.is_empty() && !fired {
            return Ok(());
        }
        let before = decider.deadline(id, &aggregate.state);
        for event in events {
            if decider.is_recorded(&event) {
                aggregate.apply(decider, &event, self.now);
                aggregate.is_changed = true;
                self.recorded.push(message.emit_change(&event, aggregate.version)?);
            } else {
                self.unrecorded.push(message.emit(&event)?);
            }
        }
        let change = Change { before, after: decider.deadline(id, &aggregate.state), fired };
        self.unrecorded.extend(change.outgoing(message.cause(), aggregate.version, self.now)?);
        Ok(())
    }

    /// Returns the rows of the snapshots that are due, in the order of the ids, so that two instances cannot deadlock.
    fn due_snapshots(&self, snapshots: &Snapshots<D::State>) -> Vec<snapshot::entity::ActiveModel> {
        let due =
            self.aggregates.iter().filter(|(_, aggregate)| snapshots.is_due(aggregate.snapshot, aggregate.version));
        let row = |(id, aggregate): (&&str, &Aggregate<D::State>)| {
            let (state, version) = (&aggregate.state, aggregate.version);
            snapshots.row(id, &Snapshot { state, version, created_at: unix_millis(aggregate.created_at) })
        };
        due.filter_map(row).collect()
    }

    async fn save(self, tx: &DatabaseTransaction) -> Result<Vec<Outgoing>, HandleError> {
        event_store::append(tx, &self.recorded, unix_millis(self.now)).await?;
        if let Some(snapshots) = D::SNAPSHOTS {
            snapshot::save(tx, self.due_snapshots(&snapshots)).await?;
        }
        let changed: Vec<Changed<'_, D::State>> = self
            .aggregates
            .iter()
            .filter(|(_, aggregate)| aggregate.is_changed)
            .map(|(id, aggregate)| Changed {
                id,
                state: &aggregate.state,
                version: aggregate.version,
                created_at: aggregate.created_at,
            })
            .collect();
        if !changed.is_empty() {
            self.decider.save(tx, &changed, self.now).await?;
        }
        let mut outgoing = self.recorded;
        outgoing.extend(self.unrecorded);
        Ok(outgoing)
    }
}

/// Loads aggregates, from their snapshots if they have any; `now` is the creation time of those without a history.
pub(crate) async fn load<'a, D: Decider>(
    decider: &D,
    connection: &impl ConnectionTrait,
    ids: impl Iterator<Item = &'a str>,
    now: OffsetDateTime,
) -> Result<BTreeMap<&'a str, Aggregate<D::State>>, HandleError> {
    let mut aggregates: BTreeMap<&str, Aggregate<D::State>> = ids.map(|id| (id, Aggregate::new(now))).collect();
    let ids: Vec<String> = aggregates.keys().map(|id| (*id).to_owned()).collect();
    let histories = match D::SNAPSHOTS {
        None => event_store::load(connection, &ids).await?,
        Some(snapshots) => restore(&mut aggregates, snapshots.load(connection, &ids).await?, connection).await?,
    };
    for (id, history) in histories {
        if let Some(aggregate) = aggregates.get_mut(id.as_str()) {
            aggregate.replay(decider, &history)?;
        }
    }
    Ok(aggregates)
}

/// Sets the aggregates to their snapshots, and loads the events after those.
async fn restore<S>(
    aggregates: &mut BTreeMap<&str, Aggregate<S>>,
    snapshots: HashMap<String, Snapshot<S>>,
    connection: &impl ConnectionTrait,
) -> Result<HashMap<String, Vec<event_store::RecordedEvent>>, DbErr> {
    for (id, Snapshot { state, version, created_at }) in snapshots {
        if let Some(aggregate) = aggregates.get_mut(id.as_str()) {
            let created_at = from_unix_millis(created_at);
            *aggregate = Aggregate { state, version, snapshot: version, created_at, is_changed: false };
        }
    }
    let after: Vec<(String, i64)> =
        aggregates.iter().map(|(id, aggregate)| ((*id).to_owned(), aggregate.version)).collect();
    event_store::load_after(connection, &after).await
}

/// Decodes an event of a history, of any version.
fn decode<E: Messages>(row: &event_store::RecordedEvent) -> Result<E, HandleError> {
    E::decode(&row.message_type, row.body.as_bytes()).map_err(|error| {
        match (&error, UnknownVersion::of::<E>(&row.message_type)) {
            (DecodeError::UnknownType(_), Some(unknown)) => HandleError::UnknownVersion(unknown),
            _ => HandleError::Reject(format!("cannot decode the history of {}: {error}", row.aggregate_id)),
        }
    })
}

/// Returns the state after the events of a history.
pub(crate) fn replay<D: Decider>(
    decider: &D,
    history: &[event_store::RecordedEvent],
) -> Result<D::State, HandleError> {
    let mut aggregate = Aggregate::new(OffsetDateTime::UNIX_EPOCH);
    aggregate.replay(decider, history)?;
    Ok(aggregate.state)
}

impl<S: Default> Aggregate<S> {
    /// Creates an aggregate without a history.
    fn new(now: OffsetDateTime) -> Self {
        Self { state: S::default(), version: 0, snapshot: 0, created_at: now, is_changed: false }
    }

    /// Applies recorded events.
    fn replay<D: Decider<State = S>>(
        &mut self,
        decider: &D,
        history: &[event_store::RecordedEvent],
    ) -> Result<(), HandleError> {
        for row in history {
            self.apply(decider, &decode::<D::Event>(row)?, from_unix_millis(row.recorded_at));
        }
        Ok(())
    }

    fn apply<D: Decider<State = S>>(&mut self, decider: &D, event: &D::Event, recorded_at: OffsetDateTime) {
        if self.version == 0 {
            self.created_at = recorded_at;
        }
        self.state = decider.evolve(std::mem::take(&mut self.state), event);
        self.version += 1;
    }
}
