//! Operations on projections: `admin.<service>.projections`.

use async_nats::jetstream;
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use serde::{Deserialize, Serialize};

use crate::inbound::query::{Endpoint, Query, QueryError};
use crate::projection::definition::{Definition, id};
pub use crate::projection::status::Status;
pub use crate::projection::table::State;
use crate::projection::table::entity::Model;
use crate::projection::table::{self, create_tables, drop_tables};
use crate::state::database::Databases;
use crate::state::statement;

/// Returns the subject on which a service accepts operations on its projections.
#[must_use]
pub fn subject(service: &str) -> String {
    format!("admin.{service}.projections")
}

/// A request. The reply has the [`Status`] of every projection of the service after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// What to do.
    #[serde(default)]
    pub action: Action,
    /// The name of the projection; of no use for a list.
    #[serde(default)]
    pub name: String,
    /// Its version; of no use for a list.
    #[serde(default)]
    pub version: u32,
}

/// An operation on a projection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Changes nothing.
    #[default]
    List,
    /// Stops it; its position is kept.
    Pause,
    /// Starts it after a pause or a failure; builds it after a drop.
    Start,
    /// Deletes its rows and reads the complete history again. Readers see it grow.
    Rebuild,
    /// Makes it the version to read.
    Switch,
    /// Deletes its tables. The active version is not dropped.
    Drop,
}

/// The projections of a process, and where they are.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) db: Databases,
    pub(crate) js: jetstream::Context,
    /// Its projections, each with its stream.
    pub(crate) definitions: Vec<(Definition, String)>,
}

impl Admin {
    /// Creates the endpoint.
    pub(crate) fn endpoint(self, service: &str) -> Endpoint {
        Endpoint::new("projections", subject(service), move |query| {
            let admin = self.clone();
            async move { admin.reply(query).await }
        })
    }

    async fn reply(&self, query: Query) -> Result<Vec<Status>, QueryError> {
        let request: Request = if query.body.is_empty() {
            Request::default()
        } else {
            serde_json::from_slice(&query.body).map_err(|error| QueryError::Invalid(error.to_string()))?
        };
        if request.action != Action::List {
            self.execute(&request).await?;
        }
        let rows = table::all(&self.db.reader).await?;
        Ok(rows.into_iter().map(Status::try_from).collect::<Result<_, _>>()?)
    }

    async fn execute(&self, request: &Request) -> Result<(), QueryError> {
        let Request { action, name, version } = request;
        let tx = self.db.writer.begin().await?;
        // Locks the row; the process that runs the projection finds out at its next update.
        let touch = "UPDATE projections SET epoch = epoch + 1 WHERE name = $1 AND version = $2";
        statement::execute(&tx, touch, [name.as_str().into(), (*version).into()]).await?;
        let found = table::find(&tx, name, *version).await?;
        let row =
            found.ok_or_else(|| QueryError::NotFound(format!("there is no projection {}", id(name, *version))))?;
        let refused = |why: &str| Err(QueryError::Invalid(format!("{} {why}", id(name, *version))));
        match (action, row.state()?) {
            // Nothing changes. With a new epoch a running projection would begin again at its position.
            (Action::List, _)
            | (Action::Pause, State::Paused)
            | (Action::Start, State::CatchingUp | State::Live) => return Ok(tx.rollback().await?),
            (Action::Switch, state) if row.is_active && state != State::Dropped => {
                return Ok(tx.rollback().await?);
            }
            (Action::Pause, State::CatchingUp | State::Live) => set(&tx, &row, "state = 'paused'").await?,
            (Action::Pause, _) => return refused("does not run"),
            (Action::Start, State::Paused | State::Failed) => {
                set(&tx, &row, "state = 'catching-up', detail = NULL").await?
            }
            (Action::Start, State::Dropped) | (Action::Rebuild, _) => self.build(&tx, &row).await?,
            (Action::Switch, State::Dropped) => return refused("is dropped"),
            (Action::Switch, _) if row.live_at.is_none() => return refused("has not caught up yet"),
            (Action::Switch, _) => table::switch(&tx, name, *version).await?,
            (Action::Drop, _) if row.is_active => {
                return refused("is the active version; switch to another one first");
            }
            (Action::Drop, _) => {
                drop_tables(&tx, &row).await?;
                set(&tx, &row, &reset("dropped")).await?;
            }
        }
        tx.commit().await?;
        tracing::info!(projection = name, version, ?action, "an operator has changed a projection");
        if *action == Action::Drop {
            self.delete_consumer(&row).await;
        }
        Ok(())
    }

    /// Creates the tables again, without rows.
    async fn build(&self, tx: &impl ConnectionTrait, row: &Model) -> Result<(), QueryError> {
        let is_it =
            |definition: &Definition| definition.name == row.name && i64::from(definition.version) == row.version;
        let Some((definition, _)) = self.definitions.iter().find(|(definition, _)| is_it(definition)) else {
            return Err(QueryError::Invalid(format!(
                "the service does not have version {} of {} any more: it can only be dropped",
                row.version, row.name
            )));
        };
        drop_tables(tx, row).await?;
        create_tables(tx, definition).await?;
        set(tx, row, &reset("catching-up")).await?;
        Ok(())
    }

    /// A consumer that is left costs the server little, so a failure is only logged.
    async fn delete_consumer(&self, row: &Model) {
        let consumer = id(&row.name, u32::try_from(row.version).unwrap_or_default());
        let stream = self.definitions.iter().find(|(definition, _)| definition.id() == consumer);
        let Some((_, stream)) = stream.or_else(|| self.definitions.first()) else { return };
        if let Err(error) = self.js.delete_consumer_from_stream(&consumer, stream).await {
            tracing::warn!(consumer, stream, %error, "the consumer of a dropped projection is not deleted");
        }
    }
}

/// Sets columns of a row.
async fn set(tx: &impl ConnectionTrait, row: &Model, columns: &str) -> Result<(), DbErr> {
    let update = format!("UPDATE projections SET {columns} WHERE name = $1 AND version = $2");
    statement::execute(tx, &update, [row.name.as_str().into(), row.version.into()]).await.map(drop)
}

/// Returns the columns of a projection without rows.
fn reset(state: &str) -> String {
    format!(
        "state = '{state}', detail = NULL, owner = NULL, lease_until = 0, generation = 0, position = 0, position_stored_at = 0, backfill = NULL, \
         history_total = 0, history_read = 0, builds = builds + 1, applied = 0, duplicates = 0, repaired = 0, lag = 0, \
         as_of = NULL, live_at = NULL"
    )
}
