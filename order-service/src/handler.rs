//! Load the histories of a batch, decide message by message, save all of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::metrics::{self, Histograms};
use choreography::{
    AggregateStatus, Envelope, HandleError, Handler, Messages as _, Outgoing, clock, event_store, statement,
};
use contracts::order::{OrderEvent, StockDeadlinePassed};
use contracts::query::OrderStatus;
use sea_orm::{ActiveValue::Set, DatabaseConnection, DatabaseTransaction, EntityTrait};
use time::OffsetDateTime;

use crate::entity::order_view::{self, Column};
use crate::order::{Order, OrderMessage, Stage, decide, evolve};

/// Handles the messages of the order service.
#[derive(Debug, Clone, Copy)]
pub struct OrderHandler {
    /// The longest time that an order may wait for stock.
    pub stock_deadline: Duration,
}

impl Handler for OrderHandler {
    type Message = OrderMessage;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<OrderMessage>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let now = clock::now();
        let mut orders = LoadedOrders::load(tx, batch, now + self.stock_deadline).await?;
        for message in batch {
            orders.decide(message, unix_millis(now))?;
        }
        orders.save(tx, unix_millis(now)).await
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = order_view::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let since = rfc3339(from_unix_millis(row.updated_at));
        let waiting = row.status == OrderStatus::AwaitingStock.as_str();
        let deadline = format!("stock, for at most {} s", self.stock_deadline.as_secs());
        Ok(Some(AggregateStatus { state: row.status, since: Some(since), blocked_on: waiting.then_some(deadline) }))
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

/// The orders that a batch affects, and the events decided so far.
struct LoadedOrders {
    orders: BTreeMap<String, Loaded>,
    appended: Vec<Outgoing>,
    /// Refusals and timers: published, but not part of a history.
    unrecorded: Vec<Outgoing>,
    /// The deadline of an order that starts to wait for stock now.
    stock_deadline: OffsetDateTime,
}

impl LoadedOrders {
    async fn load(
        tx: &DatabaseTransaction,
        batch: &[&Envelope<OrderMessage>],
        stock_deadline: OffsetDateTime,
    ) -> Result<Self, HandleError> {
        let mut orders: BTreeMap<String, Loaded> =
            batch.iter().map(|message| (message.payload.order_id().to_string(), Loaded::default())).collect();
        let ids: Vec<String> = orders.keys().cloned().collect();
        for (id, history) in event_store::load(tx, &ids).await? {
            let loaded = orders.entry(id).or_default();
            for row in history {
                let event = OrderEvent::decode(&row.message_type, row.body.as_bytes()).map_err(|error| {
                    HandleError::Reject(format!("cannot decode the history of the order: {error}"))
                })?;
                loaded.apply(&event, row.recorded_at);
            }
        }
        Ok(Self { orders, appended: Vec::new(), unrecorded: Vec::new(), stock_deadline })
    }

    fn decide(&mut self, message: &Envelope<OrderMessage>, now: i64) -> Result<(), HandleError> {
        let loaded = self.orders.entry(message.payload.order_id().to_string()).or_default();
        let waited = is_waiting(&loaded.order);
        for event in decide(&loaded.order, &message.payload) {
            if matches!(event, OrderEvent::PlaceRefused(_) | OrderEvent::CancelRefused(_)) {
                self.unrecorded.push(message.emit(&event, None)?);
            } else {
                loaded.apply(&event, now);
                loaded.changed = true;
                self.appended.push(message.emit(&event, Some(loaded.version))?);
            }
        }
        let (timer, version) =
            (StockDeadlinePassed { order_id: message.payload.order_id().clone() }, Some(loaded.version));
        match (waited, is_waiting(&loaded.order)) {
            (false, true) => self.unrecorded.push(message.schedule(&timer, version, self.stock_deadline)?),
            (true, false) => self.unrecorded.push(message.cancel(&timer, version)?),
            _ => {}
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
        self.orders.values().filter(|loaded| loaded.changed).for_each(|loaded| measure(loaded, now));
        let mut outgoing = self.appended;
        outgoing.extend(self.unrecorded);
        Ok(outgoing)
    }
}

fn is_waiting(order: &Order) -> bool {
    matches!(order, Order::Open { stage: Stage::AwaitingStock, .. })
}

/// The time from placed to final, per final status. A batch that is rolled back after this, and decided again, counts
/// twice.
static ORDER_DURATION: LazyLock<Histograms> = LazyLock::new(|| {
    metrics::histograms("orders_time_to_final_seconds", "Time from placing an order to its final status")
});

/// Records the duration of an order that has become final.
fn measure(loaded: &Loaded, now: i64) {
    let Some(status) = loaded.order.status().filter(|status| status.is_final()) else { return };
    let took = Duration::from_millis(now.saturating_sub(loaded.placed_at).max(0).unsigned_abs());
    ORDER_DURATION.get_or_create(&vec![("status", status.as_str().to_owned())]).observe(took.as_secs_f64());
}

/// The row of an order; `None` until the order is placed.
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
