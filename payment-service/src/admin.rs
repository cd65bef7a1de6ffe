//! What an operator decides about payments that need a person; safe while the service runs.

use anyhow::Context;
use contracts::OrderId;
use contracts::topology::{EVENTS, PAYMENT_SERVICE};
use messaging::envelope::unix_millis;
use messaging::{clock, connection, database};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, Value};
use time::OffsetDateTime;

use crate::config::Config;
use crate::entity::payment::{Column, Entity, Status};
use crate::migration::Migrator;
use crate::rebuild::CONNECT_TIMEOUT;

/// Payments whose request to the provider can be repeated.
const REPEATABLE: [Status; 2] = [Status::Voiding, Status::Refunding];

/// A decision about payments that need a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// To ask the provider again for the void or the refund.
    Retry,
    /// To take the alarm of a finished payment back: the money is settled with the provider.
    Dismiss,
}

/// Opens the database, applies a decision to payments, and reports how many it concerned.
///
/// # Errors
///
/// If a retry cannot read the time of nats-server, if the database cannot be opened or fails, or if the decision concerns none of the payments.
pub async fn run(config: &Config, decision: Decision, order_ids: &[OrderId]) -> anyhow::Result<()> {
    // A retry is due, and begins a period, by the clock of the service.
    if decision == Decision::Retry {
        let (client, _) = connection::establish(&config.service.nats, PAYMENT_SERVICE, CONNECT_TIMEOUT).await?;
        let reading = clock::synchronise(&connection::jetstream(&client), EVENTS).await;
        reading.context("the time of nats-server cannot be read; nothing was changed")?;
    }
    let db = database::open::<Migrator>(&config.service.database_url(PAYMENT_SERVICE)).await?;
    let changed = apply(&db, decision, order_ids, clock::now()).await?;
    db.close().await?;
    anyhow::ensure!(changed > 0, "none of these payments has an alarm that {decision:?} settles");
    tracing::info!(changed, ?decision, "the alarms of payments are settled");
    Ok(())
}

/// Applies a decision to payments that have an alarm; returns how many it concerned. A retry begins a new period
/// before the service gives up, and a new count of attempts does not.
///
/// # Errors
///
/// The database's error.
pub async fn apply(
    db: &DatabaseConnection,
    decision: Decision,
    order_ids: &[OrderId],
    now: OffsetDateTime,
) -> Result<u64, DbErr> {
    let now = unix_millis(now);
    let repeatable = Column::Status.is_in(REPEATABLE);
    let mut update = Entity::update_many()
        .col_expr(Column::AlarmSince, Expr::value(Value::BigInt(None)))
        .filter(Column::OrderId.is_in(order_ids.iter().map(OrderId::as_str)))
        .filter(Column::AlarmSince.is_not_null());
    update = match decision {
        Decision::Retry => update
            .col_expr(Column::DueAt, Expr::case(Column::ProviderKey.is_not_null(), now).into())
            .col_expr(Column::NextAttemptAt, Expr::case(Column::ProviderKey.is_null(), now).into())
            .col_expr(Column::UpdatedAt, Expr::value(now))
            .filter(repeatable),
        Decision::Dismiss => update.filter(repeatable.not()),
    };
    Ok(update.exec(db).await?.rows_affected)
}
