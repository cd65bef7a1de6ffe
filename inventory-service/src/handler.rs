//! From messages to the stock and back: load, decide, save.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use contracts::DecodeError;
use contracts::inventory::InventoryCommand;
use contracts::order::OrderEvent;
use messaging::{Cause, Decode, Envelope, HandleError, Handler, Outgoing, Standing, effects};
use sea_orm::{ActiveEnum, ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter};

use crate::balance::take_in;
use crate::entity::reservation::{self, Status};
use crate::entity::waiting_line;
use crate::slice::Slice;
use crate::stock::{Decided, StockMessage};

impl Decode for StockMessage {
    fn decode(message_type: &str, body: &[u8]) -> anyhow::Result<Self> {
        match OrderEvent::decode(message_type, body) {
            Ok(OrderEvent::Placed(order)) => Ok(Self::Placed(order)),
            Ok(OrderEvent::Cancelled(order)) => Ok(Self::Cancelled(order)),
            Ok(_) => bail!("{message_type} is nothing that stock depends on"),
            Err(DecodeError::UnknownType(_)) => {
                let InventoryCommand::Restock(restock) = InventoryCommand::decode(message_type, body)?;
                Ok(Self::Restock(restock))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tells batches of messages to the stock.
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
        let mut slice = Slice::load(tx, batch.iter().map(|message| &message.payload)).await?;
        let mut outgoing = Vec::with_capacity(batch.len());
        for message in &batch {
            for decided in slice.stock.decide(&message.payload, message.correlation_id) {
                outgoing.push(outgoing_of(decided, message).map_err(HandleError::Retry)?);
            }
        }
        slice.save(tx).await?;
        take_in(tx, restocked(&batch)).await?;
        Ok(outgoing)
    }

    async fn standing(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<Standing>> {
        let Some(row) = reservation::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let waits_for = match row.status {
            Status::Waiting => {
                let lines =
                    waiting_line::Entity::find().filter(waiting_line::Column::OrderId.eq(key)).all(db).await?;
                let lines: Vec<String> =
                    lines.iter().map(|line| format!("{} of {}", line.quantity, line.product_id)).collect();
                Some(format!("its turn for {}: a restock, or an order ahead of it", lines.join(", ")))
            }
            _ => None,
        };
        Ok(Some(Standing { state: row.status.to_value(), since: None, waits_for }))
    }
}

/// Returns what a batch brings in.
fn restocked(batch: &[&Envelope<StockMessage>]) -> BTreeMap<String, i64> {
    let mut pieces: BTreeMap<String, i64> = BTreeMap::new();
    for message in batch {
        if let StockMessage::Restock(restock) = &message.payload {
            *pieces.entry(restock.product_id.to_string()).or_default() += i64::from(restock.quantity.get());
        }
    }
    pieces
}

/// Makes the message an event travels as. The message that brought it about is its cause, in the flow the event
/// belongs to: a restock that serves a waiting order moves that order's flow on.
fn outgoing_of(decided: Decided, message: &Envelope<StockMessage>) -> anyhow::Result<Outgoing> {
    let Decided { event, version, correlation_id } = decided;
    let cause = Cause { correlation_id, ..message.cause() };
    let body = serde_json::to_vec(&event).with_context(|| format!("writing {}", event.message_type()))?;
    Ok(Outgoing::new(cause, event.subject(), event.message_type(), event.key(), Some(version), body))
}
