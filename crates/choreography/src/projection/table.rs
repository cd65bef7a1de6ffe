//! The table `projections`: the state and the position of each version of a projection.
//!
//! Each row has an epoch. Whoever changes the state of a projection increments it: a command, or an instance that takes
//! over. The instance that runs a projection names the epoch in every update, and so finds out.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
    TransactionTrait,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::clock;
use crate::projection::definition::Definition;
use crate::projection::progress::{Cursor, Place, Position};
use crate::projection::stop::Stop;
use crate::projection::versions;
use crate::state::statement::{self, invalid_row};
use crate::wire::envelope::unix_millis;

/// How long an instance that does not update its row keeps its projection.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// The SeaORM entity of the table `projections`.
pub(crate) mod entity {
    use sea_orm::entity::prelude::*;

    /// A version of a projection.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "projections")]
    pub struct Model {
        /// The name.
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// The version.
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        /// The state, as a [`State`](super::State).
        pub state: String,
        /// Whether it is the version to read.
        pub is_active: bool,
        /// The number of changes of its state, and of its owner.
        pub epoch: i64,
        /// The instance that runs it.
        pub owner: Option<Uuid>,
        /// Until when the owner keeps it, in milliseconds since 1970.
        pub lease_until: i64,
        /// When the stream was created, in nanoseconds since 1970; 0 before the start.
        pub generation: i64,
        /// The last applied sequence of the stream.
        pub position: i64,
        /// When the message at the position was stored, in milliseconds since 1970; 0 if that is unknown.
        pub position_stored_at: i64,
        /// The cursor of the backfill, JSON; null after its end.
        #[sea_orm(column_type = "Text", nullable)]
        pub backfill: Option<String>,
        /// The number of recorded events at the beginning of the backfill.
        pub history_total: i64,
        /// The number of recorded events that the backfill has read.
        pub history_read: i64,
        /// How often it was built.
        pub builds: i64,
        /// The number of applied messages, since it was built.
        pub applied: i64,
        /// The number of messages that had been applied before.
        pub duplicates: i64,
        /// The number of events that were missing in the stream and read from the event store.
        pub repaired: i64,
        /// The number of messages in the stream that are not applied yet.
        pub lag: i64,
        /// Read messages per second.
        pub rate: f64,
        /// Up to when it contains all messages, in milliseconds since 1970; null during a backfill.
        pub as_of: Option<i64>,
        /// When it had caught up for the first time since it was built, in milliseconds since 1970.
        pub live_at: Option<i64>,
        /// Why it failed.
        #[sea_orm(column_type = "Text", nullable)]
        pub detail: Option<String>,
        /// The names of its tables, JSON.
        #[sea_orm(column_type = "Text")]
        pub tables: String,
    }

    /// SeaORM requires this type; the table has no relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use entity::{ActiveModel, Column, Entity, Model};

/// The state of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It reads the history, or messages that were published before it had caught up.
    CatchingUp,
    /// It has caught up, and applies messages as they arrive.
    Live,
    /// An operator paused it.
    Paused,
    /// An event could not be applied. A start of the process, or of the projection, retries it.
    Failed,
    /// Its tables are dropped.
    Dropped,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching-up",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl Model {
    pub(crate) fn state(&self) -> Result<State, DbErr> {
        serde_json::from_value(self.state.as_str().into()).map_err(invalid_row)
    }

    pub(crate) fn position(&self) -> Position {
        Position { sequence: u64::try_from(self.position).unwrap_or(0), stored_at: self.position_stored_at }
    }

    pub(crate) fn cursor(&self) -> Result<Option<Cursor>, DbErr> {
        self.backfill.as_deref().map(serde_json::from_str).transpose().map_err(invalid_row)
    }
}

/// What one transaction has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) applied: i64,
    pub(crate) duplicates: i64,
    pub(crate) repaired: i64,
    pub(crate) history_read: i64,
}

/// The row of a projection that this instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) definition: Definition,
    pub(crate) epoch: i64,
}

/// Returns the active version of a projection; `None` before the first start.
pub(crate) async fn active(connection: &impl ConnectionTrait, name: &str) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::Name.eq(name))
        .filter(Column::IsActive.eq(true))
        .order_by_desc(Column::Version)
        .one(connection)
        .await
}

/// Returns all projections, by name and version.
pub(crate) async fn all(connection: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::Name).order_by_asc(Column::Version).all(connection).await
}

/// Returns one projection.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    name: &str,
    version: u32,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((name.to_owned(), i64::from(version))).one(connection).await
}

/// Creates the row and the tables of a projection that has none yet. The first version of a name is active at once.
pub(crate) async fn register(db: &DatabaseConnection, definition: &Definition) -> Result<(), DbErr> {
    if find(db, definition.name, definition.version).await?.is_some() {
        return retry_failed(db, definition).await;
    }
    let tx = db.begin().await?;
    let tables = definition.tables.iter().map(|table| (*table).to_owned()).chain([versions::table(definition)]);
    let tables = serde_json::to_string(&tables.collect::<Vec<_>>()).map_err(invalid_row)?;
    let row = ActiveModel {
        name: Set(definition.name.to_owned()),
        version: Set(definition.version.into()),
        state: Set(State::CatchingUp.as_str().to_owned()),
        is_active: Set(active(&tx, definition.name).await?.is_none()),
        epoch: Set(0),
        owner: NotSet,
        lease_until: Set(0),
        generation: Set(0),
        position: Set(0),
        position_stored_at: Set(0),
        backfill: NotSet,
        history_total: Set(0),
        history_read: Set(0),
        builds: Set(1),
        applied: Set(0),
        duplicates: Set(0),
        repaired: Set(0),
        lag: Set(0),
        rate: Set(0.0),
        as_of: NotSet,
        live_at: NotSet,
        detail: NotSet,
        tables: Set(tables),
    };
    // Another instance may have been faster; then this is a unique violation, and nothing is created twice.
    Entity::insert(row).exec_without_returning(&tx).await?;
    create_tables(&tx, definition).await?;
    tx.commit().await
}

/// A start of the process retries a failed projection: its code may have been corrected.
async fn retry_failed(db: &impl ConnectionTrait, definition: &Definition) -> Result<(), DbErr> {
    let update = "UPDATE projections SET state = 'catching-up', detail = NULL, epoch = epoch + 1 \
                  WHERE name = $1 AND version = $2 AND state = 'failed'";
    statement::execute(db, update, [definition.name.into(), definition.version.into()]).await.map(drop)
}

pub(crate) async fn create_tables(tx: &impl ConnectionTrait, definition: &Definition) -> Result<(), DbErr> {
    for statement in definition.schema {
        tx.execute_unprepared(statement).await?;
    }
    versions::create(tx, definition).await
}

pub(crate) async fn drop_tables(tx: &impl ConnectionTrait, row: &Model) -> Result<(), DbErr> {
    let tables: Vec<String> = serde_json::from_str(&row.tables).map_err(invalid_row)?;
    for table in tables {
        tx.execute_unprepared(&format!("DROP TABLE IF EXISTS {table}")).await?;
    }
    Ok(())
}

/// Takes a projection that is to run and that no other instance runs.
pub(crate) async fn take(
    db: &impl ConnectionTrait,
    definition: Definition,
    owner: Uuid,
) -> Result<Option<(Held, Model)>, DbErr> {
    let now = unix_millis(clock::now());
    let update = "UPDATE projections SET owner = $1, lease_until = $2, epoch = epoch + 1 \
                  WHERE name = $3 AND version = $4 AND state IN ('catching-up', 'live') \
                  AND (owner IS NULL OR owner = $1 OR lease_until < $5)";
    let parameters =
        [owner.into(), lease_until().into(), definition.name.into(), definition.version.into(), now.into()];
    if statement::execute(db, update, parameters).await? == 0 {
        return Ok(None);
    }
    let row = find(db, definition.name, definition.version).await?.filter(|row| row.owner == Some(owner));
    Ok(row.map(|row| (Held { definition, epoch: row.epoch }, row)))
}

fn lease_until() -> i64 {
    unix_millis(clock::now() + LEASE)
}

impl Held {
    /// Updates columns of the row, and keeps the projection for another [`LEASE`].
    pub(crate) async fn update(
        &self,
        connection: &impl ConnectionTrait,
        changes: impl IntoIterator<Item = (Column, Expr)>,
    ) -> Result<(), Stop> {
        let mut update = Entity::update_many()
            .filter(Column::Name.eq(self.definition.name))
            .filter(Column::Version.eq(i64::from(self.definition.version)))
            .filter(Column::Epoch.eq(self.epoch))
            .col_expr(Column::LeaseUntil, Expr::value(lease_until()));
        for (column, value) in changes {
            update = update.col_expr(column, value);
        }
        match update.exec(connection).await?.rows_affected {
            0 => Err(Stop::Fenced),
            _ => Ok(()),
        }
    }

    /// Moves the projection on, as the first statement of the transaction that applies the messages before that place.
    pub(crate) async fn advance(
        &self,
        tx: &impl ConnectionTrait,
        place: Option<&Place>,
        as_of: Option<i64>,
        counts: Counts,
    ) -> Result<(), Stop> {
        let add = |column: Column, count: i64| (column, Expr::col(column).add(count));
        let mut changes = vec![
            add(Column::Applied, counts.applied),
            add(Column::Duplicates, counts.duplicates),
            add(Column::Repaired, counts.repaired),
            add(Column::HistoryRead, counts.history_read),
        ];
        match place {
            None => {}
            Some(Place::Stream(position)) => {
                changes.extend(position_columns(*position));
                changes.push((Column::AsOf, Expr::value(as_of)));
            }
            Some(Place::History(cursor)) => {
                changes.push((Column::Backfill, Expr::value(cursor_text(cursor.as_ref())?)))
            }
        }
        self.update(tx, changes).await
    }

    /// Records why the projection cannot go on.
    pub(crate) async fn fail(&self, db: &impl ConnectionTrait, why: &str) -> Result<(), Stop> {
        let state = Expr::value(State::Failed.as_str());
        self.update(db, [(Column::State, state), (Column::Detail, Expr::value(why))]).await
    }

    /// Lets another instance take the projection at once.
    pub(crate) async fn release(&self, db: &impl ConnectionTrait) -> Result<(), Stop> {
        self.update(
            db,
            [(Column::Owner, Expr::value(Option::<Uuid>::None)), (Column::Epoch, Expr::value(self.epoch + 1))],
        )
        .await
    }

    /// Records that the projection has caught up. The first time it becomes the active version, unless a later one is.
    pub(crate) async fn go_live(&self, db: &DatabaseConnection) -> Result<(), Stop> {
        let Definition { name, version, .. } = self.definition;
        let tx = db.begin().await?;
        self.update(&tx, [(Column::State, Expr::value(State::Live.as_str()))]).await?;
        let is_first = find(&tx, name, version).await?.is_some_and(|row| row.live_at.is_none());
        if is_first {
            self.update(&tx, [(Column::LiveAt, Expr::value(unix_millis(clock::now())))]).await?;
            if active(&tx, name).await?.is_none_or(|active| active.version < i64::from(version)) {
                switch(&tx, name, version).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Makes a version the one to read.
pub(crate) async fn switch(tx: &impl ConnectionTrait, name: &str, version: u32) -> Result<(), DbErr> {
    let update = "UPDATE projections SET is_active = (version = $2) WHERE name = $1";
    statement::execute(tx, update, [name.into(), i64::from(version).into()]).await.map(drop)
}

/// Returns a position as the table stores it.
pub(crate) fn position_columns(position: Position) -> [(Column, Expr); 2] {
    let sequence = i64::try_from(position.sequence).unwrap_or(i64::MAX);
    [(Column::Position, Expr::value(sequence)), (Column::PositionStoredAt, Expr::value(position.stored_at))]
}

/// Returns a cursor as the table stores it.
pub(crate) fn cursor_text(cursor: Option<&Cursor>) -> Result<Option<String>, DbErr> {
    cursor.map(serde_json::to_string).transpose().map_err(invalid_row)
}
