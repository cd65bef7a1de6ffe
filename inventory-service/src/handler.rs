//! The message handler: load the stock, decide, save.

use std::collections::BTreeMap;

use choreography::{AggregateStatus, Cause, EncodeError, Envelope, HandleError, Handler, Outgoing, effects};
use sea_orm::{ActiveEnum, ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter};

use crate::entity::backorder_line;
use crate::entity::reservation::{self, Status};
use crate::reconciliation::receive;
use crate::stock::{Decided, StockMessage};
use crate::unit_of_work;

/// Applies batches of messages to the stock.
#[derive(Debug, Clone, Copy)]
pub struct InventoryHandler;

impl Handler for InventoryHandler {
    type Message = StockMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<StockMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let batch =
            effects::without_repeated(tx, batch, |message| matches!(message, StockMessage::Restock(_))).await?;
        let mut stock = unit_of_work::load(tx, batch.iter().map(|message| &message.payload)).await?;
        let mut outgoing = Vec::with_capacity(batch.len());
        for message in &batch {
            for decided in stock.decide(&message.payload, message.correlation_id) {
                outgoing.push(outgoing_of(decided, message)?);
            }
        }
        unit_of_work::save(tx, &stock).await?;
        receive(tx, restocked(&batch)).await?;
        Ok(outgoing)
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = reservation::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let blocked_on = match row.status {
            Status::Waiting => {
                let lines =
                    backorder_line::Entity::find().filter(backorder_line::Column::OrderId.eq(key)).all(db).await?;
                let lines: Vec<String> =
                    lines.iter().map(|line| format!("{} of {}", line.quantity, line.product_id)).collect();
                Some(format!("units ({}): a restock, or an order ahead of it", lines.join(", ")))
            }
            _ => None,
        };
        Ok(Some(AggregateStatus { state: row.status.to_value(), since: None, blocked_on }))
    }
}

/// Returns the units that a batch restocks, per product.
fn restocked(batch: &[&Envelope<StockMessage>]) -> BTreeMap<String, i64> {
    let mut units: BTreeMap<String, i64> = BTreeMap::new();
    for message in batch {
        if let StockMessage::Restock(restock) = &message.payload {
            *units.entry(restock.product_id.to_string()).or_default() += i64::from(restock.quantity.get());
        }
    }
    units
}

/// Returns the outgoing message of an event. Its causation id is that of `message`, its correlation id that of the
/// event's flow: a restock that serves a waiting order continues that order's flow.
fn outgoing_of(decided: Decided, message: &Envelope<StockMessage>) -> Result<Outgoing, EncodeError> {
    let Decided { event, version, correlation_id } = decided;
    Outgoing::of(Cause { correlation_id, ..message.cause() }, &event, Some(version))
}
