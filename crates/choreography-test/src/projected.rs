//! Given/then for one projection: events, then rows, without a broker.

use choreography::migration::LibraryAndProjections;
use choreography::projection::testing::LocalProjection;
use choreography::testing::sqlite_in_memory;
use choreography::{Projection, Publish, clock};
use sea_orm::{DatabaseConnection, EntityTrait};
use time::OffsetDateTime;

use crate::START;

/// A projection under test, with an SQLite database in memory. Its clock starts at [`START`] and stands still.
pub struct ProjectionSpec<P> {
    projection: LocalProjection<P>,
    now: OffsetDateTime,
}

impl<P: Projection> ProjectionSpec<P> {
    /// Creates the tables of a projection.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn new(projection: P) -> anyhow::Result<Self> {
        let db = sqlite_in_memory::<LibraryAndProjections>().await?;
        Ok(Self { projection: LocalProjection::new(projection, db).await?, now: START })
    }

    /// Returns the database.
    pub fn db(&self) -> &DatabaseConnection {
        self.projection.db()
    }

    /// Advances the paused clock.
    pub fn advance(&mut self, duration: std::time::Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Applies events as one batch. Each is the next one of its aggregate.
    ///
    /// # Panics
    ///
    /// If an event cannot be applied.
    pub async fn given<E: Publish>(&mut self, events: impl IntoIterator<Item = E>) -> &mut Self {
        let applied = Box::pin(clock::at(self.now, self.projection.apply(events))).await;
        if let Err(error) = applied {
            panic!("{}: {error:#}", P::NAME);
        }
        self
    }

    /// Asserts that the table of an entity has exactly these rows, in any order.
    ///
    /// # Panics
    ///
    /// If the table has other rows.
    pub async fn then<E: EntityTrait>(&self, expected: impl IntoIterator<Item = E::Model>) {
        let rows = match E::find().all(self.db()).await {
            Ok(rows) => rows,
            Err(error) => panic!("{}: {error:#}", P::NAME),
        };
        let sorted = |rows: Vec<E::Model>| {
            let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:#?}")).collect();
            texts.sort_unstable();
            texts.join("\n")
        };
        let (found, expected) = (sorted(rows), sorted(expected.into_iter().collect()));
        assert!(found == expected, "{} has other rows than expected:\n{found}\nexpected:\n{expected}", P::NAME);
    }
}
