//! Decisions of an operator about payments with an alarm; safe while the service runs.

use anyhow::Context;
use choreography::envelope::unix_millis;
use choreography::{clock, connection, database};
use contracts::OrderId;
use contracts::topology::{EVENTS, PAYMENT_SERVICE};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, Value};
use time::OffsetDateTime;

use crate::config::Config;
use crate::entity::payment::{Column, Entity, Status};
use crate::migration::Migrator;
use crate::rebuild::CONNECT_TIMEOUT;

/// The statuses in which the request to the provider can be repeated.
const REPEATABLE: [Status; 2] = [Status::Voiding, Status::Refunding];

/// A decision about payments with an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Repeat the void or the refund at the provider.
    Retry,
    /// Clear the alarm of a finished payment: the operator has settled it with the provider.
    Dismiss,
}

/// Opens the database, applies a decision to payments, and logs the number of changed payments.
///
/// # Errors
///
/// If a retry cannot read the time of nats-server, if the database cannot be opened or fails, or if the decision
/// applies to none of the payments.
pub async fn run(config: &Config, decision: Decision, order_ids: &[OrderId]) -> anyhow::Result<()> {
    // The due time of a retry, and the start of its period, are times of the service's clock.
    if decision == Decision::Retry {
        let (client, _) = connection::establish(&config.service.nats, PAYMENT_SERVICE, CONNECT_TIMEOUT).await?;
        let reading = clock::synchronise(&connection::jetstream(&client), EVENTS).await;
        reading.context("cannot read the time of nats-server; nothing was changed")?;
    }
    let db = database::open::<Migrator>(&config.service.database_url(PAYMENT_SERVICE)).await?;
    let changed = apply(&db, decision, order_ids, clock::now()).await?;
    db.close().await?;
    anyhow::ensure!(changed > 0, "none of these payments has an alarm that {decision:?} applies to");
    tracing::info!(changed, ?decision, "cleared the alarms of payments");
    Ok(())
}

/// Applies a decision to payments that have an alarm; returns the number of changed payments. A retry starts a new
/// retry period, but does not reset the number of attempts.
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
