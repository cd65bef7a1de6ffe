//! A projection without a broker, for tests.

use std::collections::HashMap;

use sea_orm::DatabaseConnection;
use uuid::Uuid;

use crate::broker::clock;
use crate::inbound::policies::Policies;
use crate::projection::Projection;
use crate::projection::batch;
use crate::projection::commit::{Committer, Rollback};
use crate::projection::decode::{Content, Entry, Version};
use crate::projection::definition::Definition;
use crate::projection::progress::{Place, Position};
use crate::projection::source::Source;
use crate::projection::{table, versions};
use crate::wire::encoding;
use crate::wire::envelope::{Envelope, from_unix_millis, unix_millis};
use crate::wire::message::{Messages, Publish};

/// Applies events to a projection, by the code of a running service.
pub struct LocalProjection<P> {
    projection: P,
    db: DatabaseConnection,
    versions: HashMap<(String, String), i64>,
    sequence: u64,
}

impl<P: Projection> LocalProjection<P> {
    /// Creates the tables of a projection on a database that has those of the library
    /// ([`migration::projections`](crate::migration::projections)).
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn new(projection: P, db: DatabaseConnection) -> anyhow::Result<Self> {
        table::register(&db, &Definition::of::<P>()).await?;
        Ok(Self { projection, db, versions: HashMap::new(), sequence: 0 })
    }

    /// Returns the database.
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Applies events as one batch, now. Each is the next one of its aggregate.
    ///
    /// # Errors
    ///
    /// If an event is not one of the projection, or cannot be applied.
    pub async fn apply<E: Publish>(&mut self, events: impl IntoIterator<Item = E>) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        for event in events {
            entries.push(self.entry(&event)?);
        }
        let definition = Definition::of::<P>();
        let last = versions::load(&self.db, &definition, &batch::aggregates(&entries)).await?;
        let source = Source { client: None, contexts: P::EVENT_STORES };
        let judged = source.judge(definition.name, last, entries).await?;
        let Some((held, row)) = table::take(&self.db, definition, Uuid::nil()).await? else {
            anyhow::bail!("the projection does not run");
        };
        let timeout = Policies::default().handler_timeout;
        let committer = Committer { projection: &self.projection, db: &self.db, builds: row.builds, timeout };
        match committer.commit(&held, &judged).await {
            Ok(_) => Ok(()),
            Err(Rollback::Event(error)) => Err(error.into()),
            Err(Rollback::Stop(stop)) => Err(stop.into()),
            Err(Rollback::Contention(why)) => anyhow::bail!(why),
        }
    }

    fn entry(&mut self, event: &impl Publish) -> anyhow::Result<Entry<P::Messages>> {
        let (info, now) = (event.info(), unix_millis(clock::now()));
        let key = (info.context.to_owned(), event.key().to_owned());
        let number = self.versions.entry(key.clone()).or_insert(0);
        *number += 1;
        self.sequence += 1;
        let payload = P::Messages::decode(info.message_type, &encoding::body(event)?)?;
        let (context, aggregate_id) = key;
        let envelope = Envelope {
            id: Uuid::now_v7(),
            message_type: info.message_type.to_owned(),
            source: format!("/{}", info.producer),
            key: aggregate_id.clone(),
            time: from_unix_millis(now),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            aggregate_version: Some(*number),
            trace_parent: None,
            auth: None,
            payload,
        };
        let is_recorded = P::EVENT_STORES.contains(&info.context);
        Ok(Entry {
            content: Content::Event(Box::new(envelope)),
            version: is_recorded.then_some(Version { context, aggregate_id, number: *number }),
            place: Some(Place::Stream(Position { sequence: self.sequence, stored_at: now })),
            stored_at: now,
        })
    }
}
