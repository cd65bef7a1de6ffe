//! Load the histories of a batch, decide message by message, save all of it.

use std::collections::BTreeMap;

use contracts::order::OrderEvent;
use messaging::envelope::unix_millis;
use messaging::{Envelope, HandleError, Handler, Outgoing, event_store, statement};
use sea_orm::{ActiveValue::Set, DatabaseTransaction};
use time::OffsetDateTime;

use crate::entity::order_view::{self, Column};
use crate::order::{Order, OrderMessage, decide, evolve};

/// Handles the messages of the order service.
#[derive(Debug, Clone, Copy)]
pub struct OrderHandler;

impl Handler for OrderHandler {
    type Message = OrderMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<OrderMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let now = unix_millis(OffsetDateTime::now_utc());
        let mut histories = Histories::load(tx, batch).await?;
        for message in batch {
            histories.decide(message, now)?;
        }
        histories.save(tx, now).await
    }
}

/// One order while a batch is decided.
#[derive(Default)]
struct Loaded {
    order: Order,
    version: i64,
    placed_at: i64,
    changed: bool,
}

impl Loaded {
    fn apply(&mut self, event: &OrderEvent, recorded_at: i64) {
        if matches!(event, OrderEvent::Placed(_)) {
            self.placed_at = recorded_at;
        }
        self.order = evolve(std::mem::take(&mut self.order), event);
        self.version += 1;
    }
}

/// The orders that a batch is about, and what has been decided.
struct Histories {
    orders: BTreeMap<String, Loaded>,
    appended: Vec<Outgoing>,
    refusals: Vec<Outgoing>,
}

impl Histories {
    async fn load(tx: &DatabaseTransaction, batch: &[&Envelope<OrderMessage>]) -> Result<Self, HandleError> {
        let mut orders: BTreeMap<String, Loaded> =
            batch.iter().map(|message| (message.payload.order_id().to_string(), Loaded::default())).collect();
        let ids: Vec<String> = orders.keys().cloned().collect();
        for (id, history) in event_store::load(tx, &ids).await? {
            let loaded = orders.entry(id).or_default();
            for row in history {
                let event = OrderEvent::decode(&row.message_type, row.body.as_bytes())
                    .map_err(|error| HandleError::Reject(format!("the history of the order: {error}")))?;
                loaded.apply(&event, row.recorded_at);
            }
        }
        Ok(Self { orders, appended: Vec::new(), refusals: Vec::new() })
    }

    fn decide(&mut self, message: &Envelope<OrderMessage>, now: i64) -> Result<(), HandleError> {
        let loaded = self.orders.entry(message.payload.order_id().to_string()).or_default();
        for event in decide(&loaded.order, &message.payload) {
            let refusal = matches!(event, OrderEvent::PlaceRefused(_) | OrderEvent::CancelRefused(_));
            let version = if refusal {
                // Nothing changed: the refusal is told, and is no part of the history.
                None
            } else {
                loaded.apply(&event, now);
                loaded.changed = true;
                Some(loaded.version)
            };
            let body = serde_json::to_vec(&event).map_err(|error| HandleError::Retry(error.into()))?;
            let outgoing =
                Outgoing::new(message.cause(), event.subject(), event.message_type(), event.key(), version, body);
            if refusal { &mut self.refusals } else { &mut self.appended }.push(outgoing);
        }
        Ok(())
    }

    async fn save(self, tx: &DatabaseTransaction, now: i64) -> Result<Vec<Outgoing>, HandleError> {
        event_store::append(tx, &self.appended, now).await?;
        let views = self
            .orders
            .iter()
            .filter(|(_, loaded)| loaded.changed)
            .filter_map(|(_, loaded)| view(loaded, now).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let changes = [Column::Status, Column::Reason, Column::Version, Column::UpdatedAt];
        statement::insert(tx, views, Some(statement::overwrite(&[Column::OrderId], &changes))).await?;
        let mut outgoing = self.appended;
        outgoing.extend(self.refusals);
        Ok(outgoing)
    }
}

/// The row of an order, once it exists.
fn view(loaded: &Loaded, now: i64) -> Result<Option<order_view::ActiveModel>, HandleError> {
    let (Some(details), Some(status)) = (loaded.order.details(), loaded.order.status()) else { return Ok(None) };
    let json = |error: serde_json::Error| HandleError::Retry(error.into());
    let reason = match &loaded.order {
        Order::Cancelled { reason, .. } => Some(serde_json::to_string(reason).map_err(json)?),
        _ => None,
    };
    Ok(Some(order_view::ActiveModel {
        order_id: Set(details.order_id.to_string()),
        customer_id: Set(details.customer_id.to_string()),
        status: Set(status.as_str().to_owned()),
        currency: Set(details.currency.code().to_owned()),
        total_price: Set(details.total_price.minor_units()),
        items: Set(serde_json::to_string(&details.items).map_err(json)?),
        reason: Set(reason),
        version: Set(loaded.version),
        placed_at: Set(loaded.placed_at),
        updated_at: Set(now),
    }))
}
