//! The handler: orders by [`decide`] and [`evolve`](order::evolve), with their view.

use std::sync::LazyLock;
use std::time::Duration;

use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::metrics::{self, Histograms};
use choreography::{AggregateStatus, Changed, Deadline, Decider, Envelope, HandleError, statement};
use contracts::order::{OrderEvent, StockDeadlinePassed};
use contracts::query::OrderStatus;
use sea_orm::{ActiveValue::Set, DatabaseConnection, DatabaseTransaction, EntityTrait};
use time::OffsetDateTime;

use crate::entity::order_view::{self, Column};
use crate::order::{self, Order, OrderMessage, Stage, decide};

/// The rules of orders. [`EventSourced`](choreography::EventSourced) makes the handler of them.
#[derive(Debug, Clone, Copy)]
pub struct OrderDecider {
    /// The longest time that an order may wait for stock.
    pub stock_deadline: Duration,
}

impl Decider for OrderDecider {
    type Message = OrderMessage;
    type Event = OrderEvent;
    type State = Order;

    fn decide(&self, order: &Order, message: &Envelope<OrderMessage>) -> Vec<OrderEvent> {
        decide(order, &message.payload)
    }

    fn evolve(&self, order: Order, event: &OrderEvent) -> Order {
        order::evolve(order, event)
    }

    fn is_recorded(&self, event: &OrderEvent) -> bool {
        !matches!(event, OrderEvent::PlaceRefused(_) | OrderEvent::CancelRefused(_))
    }

    fn deadline(&self, _id: &str, order: &Order) -> Option<Deadline> {
        let Order::Open { stage: Stage::AwaitingStock, details } = order else { return None };
        let timer = StockDeadlinePassed { order_id: details.order_id.clone() };
        Some(Deadline::after(self.stock_deadline, &timer))
    }

    async fn save(
        &self,
        tx: &DatabaseTransaction,
        changed: &[Changed<'_, Order>],
        now: OffsetDateTime,
    ) -> Result<(), HandleError> {
        let views = changed.iter().filter_map(|order| view(order, now).transpose()).collect::<Result<_, _>>()?;
        let columns = [Column::Status, Column::Reason, Column::Version, Column::UpdatedAt];
        statement::insert(tx, views, Some(statement::overwrite(&[Column::OrderId], &columns))).await?;
        changed.iter().for_each(|order| measure(order, now));
        Ok(())
    }

    async fn status(&self, db: &DatabaseConnection, key: &str) -> anyhow::Result<Option<AggregateStatus>> {
        let Some(row) = order_view::Entity::find_by_id(key).one(db).await? else { return Ok(None) };
        let since = rfc3339(from_unix_millis(row.updated_at));
        let waiting = row.status == OrderStatus::AwaitingStock.as_str();
        let deadline = format!("stock, for at most {} s", self.stock_deadline.as_secs());
        Ok(Some(AggregateStatus { state: row.status, since: Some(since), blocked_on: waiting.then_some(deadline) }))
    }
}

/// The time from the first event to the final status, per final status. A batch that is rolled back after this, and decided again, counts
/// twice.
static ORDER_DURATION: LazyLock<Histograms> = LazyLock::new(|| {
    metrics::histograms("orders_time_to_final_seconds", "Time from placing an order to its final status")
});

/// Records the duration of an order that has become final.
fn measure(order: &Changed<'_, Order>, now: OffsetDateTime) {
    let Some(status) = order.state.status().filter(|status| status.is_final()) else { return };
    let took = (now - order.created_at).as_seconds_f64().max(0.0);
    ORDER_DURATION.get_or_create(&vec![("status", status.as_str().to_owned())]).observe(took);
}

/// The row of an order; `None` until the order is placed.
fn view(order: &Changed<'_, Order>, now: OffsetDateTime) -> Result<Option<order_view::ActiveModel>, HandleError> {
    let (Some(details), Some(status)) = (order.state.details(), order.state.status()) else { return Ok(None) };
    let json = |error: serde_json::Error| HandleError::Retry(error.into());
    let reason = match order.state {
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
        version: Set(order.version),
        // The row is inserted when the order is placed; later changes keep this column.
        placed_at: Set(unix_millis(now)),
        updated_at: Set(unix_millis(now)),
    }))
}
