//! One transaction of a projection: position, inbox, rows, and versions.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use uuid::Uuid;

use crate::inbound::failure::Failure;
use crate::inbound::handler::HandleError;
use crate::inbound::inbox::{self, Received};
use crate::projection::Projection;
use crate::projection::batch::{Judged, LastVersions};
use crate::projection::decode::{Content, Entry};
use crate::projection::progress::Place;
use crate::projection::stop::Stop;
use crate::projection::table::{Counts, Held};
use crate::projection::versions;
use crate::state::database::answered;
use crate::wire::envelope::{Envelope, derived_id};

/// Why a transaction was rolled back.
pub(crate) enum Rollback {
    /// The projection stops.
    Stop(Stop),
    /// An event is at fault.
    Event(HandleError),
    /// A conflict with another transaction.
    Contention(String),
}

impl From<Failure> for Rollback {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Message(error) => Self::Event(error),
            Failure::Timeout(_) => Self::Event(HandleError::Retry(failure.into())),
            Failure::Contention(_) => Self::Contention(failure.to_string()),
            Failure::Outage(_) => Self::Stop(failure.into()),
        }
    }
}

impl From<DbErr> for Rollback {
    fn from(error: DbErr) -> Self {
        Failure::from(error).into()
    }
}

impl From<Stop> for Rollback {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// What a transaction needs besides the messages.
pub(crate) struct Committer<'a, P> {
    pub(crate) projection: &'a P,
    pub(crate) db: &'a DatabaseConnection,
    /// How often the projection was built: a rebuild applies everything again.
    pub(crate) builds: i64,
    pub(crate) timeout: Duration,
}

impl<P: Projection> Committer<'_, P> {
    /// Applies messages that follow each other, and moves the projection past them; returns what it counted.
    pub(crate) async fn commit(&self, held: &Held, part: &[Judged<P::Messages>]) -> Result<Counts, Rollback> {
        let unreadable =
            part.iter().filter(|judged| judged.is_new).find_map(|judged| match &judged.entry.content {
                Content::Unreadable(why) => Some(why.clone()),
                _ => None,
            });
        if let Some(why) = unreadable {
            return Err(Rollback::Event(HandleError::Reject(why)));
        }
        let tx = answered::<_, DbErr>(self.db.begin()).await?;
        // After an error the transaction is dropped, and rolled back.
        let counts = self.write(&tx, held, part).await?;
        answered::<_, DbErr>(tx.commit()).await?;
        Ok(counts)
    }

    async fn write(
        &self,
        tx: &DatabaseTransaction,
        held: &Held,
        part: &[Judged<P::Messages>],
    ) -> Result<Counts, Rollback> {
        let batch = answered::<_, DbErr>(self.first_deliveries(tx, held, part)).await?;
        let counts = counts(part, batch.len());
        let place = part.iter().rev().find_map(|judged| judged.entry.place.as_ref());
        let as_of = part.last().map(|judged| judged.entry.stored_at);
        // It takes the lock on the row, or finds that the projection was changed meanwhile.
        answered::<_, Stop>(held.advance(tx, place, as_of, counts)).await?;
        if !batch.is_empty() {
            self.apply(tx, &batch).await?;
        }
        answered::<_, DbErr>(versions::save(tx, &held.definition, last_versions(part))).await?;
        Ok(counts)
    }

    /// Returns the events to apply: versioned ones that are new, and others that the inbox has not recorded.
    async fn first_deliveries<'a>(
        &self,
        tx: &DatabaseTransaction,
        held: &Held,
        part: &'a [Judged<P::Messages>],
    ) -> Result<Vec<&'a Envelope<P::Messages>>, DbErr> {
        // A rebuild applies everything again.
        let build = format!("{}#{}", held.definition.id(), self.builds);
        let events = part.iter().filter(|judged| judged.is_new).filter_map(|judged| match &judged.entry.content {
            Content::Event(envelope) => Some((&judged.entry, &**envelope, derived_id(&envelope.id, &build))),
            _ => None,
        });
        let events: Vec<_> = events.collect();
        let unversioned = events.iter().filter(|(entry, ..)| entry.version.is_none());
        let received: Vec<_> =
            unversioned.map(|(entry, _, id)| Received { id: *id, at: entry.stored_at }).collect();
        let mut first =
            if received.is_empty() { HashSet::new() } else { inbox::first_deliveries(tx, &received).await? };
        // Removed, so that a message that occurs twice in a batch is applied once.
        let is_first =
            |(entry, _, id): &(&Entry<P::Messages>, _, Uuid)| entry.version.is_some() || first.remove(id);
        Ok(events.into_iter().filter(is_first).map(|(_, envelope, _)| envelope).collect())
    }

    /// Calls the projection. A panic or a time-out is an error of the event that caused it.
    async fn apply(&self, tx: &DatabaseTransaction, batch: &[&Envelope<P::Messages>]) -> Result<(), Failure> {
        let applying = AssertUnwindSafe(self.projection.apply(tx, batch)).catch_unwind();
        match tokio::time::timeout(self.timeout, applying).await {
            Ok(Ok(applied)) => applied.map_err(Failure::from),
            Ok(Err(_)) => Err(Failure::Message(HandleError::Retry(anyhow::anyhow!("the projection panicked")))),
            Err(_) => Err(Failure::Timeout(self.timeout)),
        }
    }
}

/// Counts a batch of which some events are applied.
fn counts<M>(part: &[Judged<M>], applied: usize) -> Counts {
    let count = |is_counted: &dyn Fn(&Judged<M>) -> bool| part.iter().filter(|judged| is_counted(judged)).count();
    let events = count(&|judged| matches!(judged.entry.content, Content::Event(_)));
    let figure = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Counts {
        applied: figure(applied),
        duplicates: figure(events.saturating_sub(applied)),
        repaired: figure(count(&|judged| judged.entry.place.is_none())),
        history_read: figure(count(&|judged| matches!(judged.entry.place, Some(Place::History(_))))),
    }
}

/// Returns the last version of each aggregate among new messages.
fn last_versions<M>(part: &[Judged<M>]) -> LastVersions {
    let versions = part.iter().filter(|judged| judged.is_new).filter_map(|judged| judged.entry.version.clone());
    versions.map(|version| ((version.context, version.aggregate_id), version.number)).collect()
}
