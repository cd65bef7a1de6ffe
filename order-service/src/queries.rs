//! The queries: one order, a history. [`contracts::query`] has the types of requests and replies.

use std::time::Duration;

use anyhow::Context;
use choreography::envelope::{from_unix_millis, rfc3339};
use choreography::event_store;
use choreography::query::{Endpoint, Query, QueryError};
use choreography::time_travel::{Past, Point, past};
use contracts::OrderId;
use contracts::order::OrderDetails;
use contracts::query::{HistoryEvent, OrderHistory, OrderView};
use sea_orm::{DatabaseConnection, EntityTrait};

use crate::entity::order_view::{Entity, Model};
use crate::handler::OrderDecider;
use crate::order::Order;
use crate::reconciliation::reconciliation;

/// Returns the query endpoints on a database; an order waits for stock at most `stock_deadline`.
#[must_use]
pub fn endpoints(db: &DatabaseConnection, stock_deadline: Duration) -> Vec<Endpoint> {
    let decider = OrderDecider { stock_deadline };
    let (for_get, for_history, for_reconciliation) = (db.clone(), db.clone(), db.clone());
    vec![
        Endpoint::new("get", "order.query.get.*", move |query| get(for_get.clone(), decider, query)),
        Endpoint::new("history", "order.query.history.*", move |query| history(for_history.clone(), query)),
        Endpoint::new("reconciliation", "order.query.reconciliation", move |_| {
            reconciliation(for_reconciliation.clone(), stock_deadline)
        }),
    ]
}

fn order_id(query: &Query) -> Result<OrderId, QueryError> {
    OrderId::parse(query.key.as_str()).map_err(|error| QueryError::Invalid(format!("the order id {error}")))
}

/// Returns an order, or as it was at a [`Point`] of its history.
///
/// # Errors
///
/// [`QueryError::NotFound`] if it does not exist or did not then; [`QueryError::Invalid`] if the body is neither empty nor
/// a point.
pub async fn get(db: DatabaseConnection, decider: OrderDecider, query: Query) -> Result<OrderView, QueryError> {
    let id = order_id(&query)?;
    if let Some(point) = Point::of(&query)? {
        let past = past(&decider, &db, id.as_str(), point).await?;
        let absent = || QueryError::NotFound(format!("order {id} did not exist {point}"));
        return past.and_then(past_view).ok_or_else(absent);
    }
    let row = Entity::find_by_id(id.to_string()).one(&db).await?;
    view(row.ok_or_else(|| QueryError::NotFound(format!("there is no order {id}")))?)
}

/// Returns the view of an order as it was; `None` if it was not placed yet.
fn past_view(past: Past<Order>) -> Option<OrderView> {
    let (details, status) = (past.state.details()?, past.state.status()?);
    let placed = past.events.iter().find(|event| event.message_type.starts_with("order.placed."))?;
    let reason = match &past.state {
        Order::Cancelled { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let OrderDetails { order_id, customer_id, currency, items, total_price, .. } = details.clone();
    Some(OrderView {
        order_id,
        customer_id,
        status,
        currency,
        items,
        total_price,
        reason,
        version: past.version(),
        placed_at: rfc3339(from_unix_millis(placed.recorded_at)),
        updated_at: rfc3339(past.changed_at()),
    })
}

async fn history(db: DatabaseConnection, query: Query) -> Result<OrderHistory, QueryError> {
    let order_id = order_id(&query)?;
    let mut histories = event_store::load(&db, &[order_id.to_string()]).await?;
    let rows = histories
        .remove(order_id.as_str())
        .ok_or_else(|| QueryError::NotFound(format!("there is no order {order_id}")))?;
    let events = rows.into_iter().map(history_event).collect::<Result<_, _>>()?;
    Ok(OrderHistory { order_id, events })
}

fn history_event(row: event_store::RecordedEvent) -> Result<HistoryEvent, QueryError> {
    Ok(HistoryEvent {
        version: row.version,
        message_type: row.message_type,
        time: rfc3339(from_unix_millis(row.recorded_at)),
        message_id: row.message_id.to_string(),
        causation_id: row.causation_id.to_string(),
        correlation_id: row.correlation_id.to_string(),
        data: serde_json::from_str(&row.body)
            .context("cannot decode a recorded event")
            .map_err(QueryError::Unavailable)?,
    })
}

fn view(row: Model) -> Result<OrderView, QueryError> {
    let id = row.order_id.clone();
    parse_row(row).with_context(|| format!("cannot read the view of order {id}")).map_err(QueryError::Unavailable)
}

fn parse_row(row: Model) -> anyhow::Result<OrderView> {
    Ok(OrderView {
        order_id: row.order_id.try_into()?,
        customer_id: row.customer_id.try_into()?,
        status: serde_json::from_value(row.status.into())?,
        currency: serde_json::from_value(row.currency.into())?,
        items: serde_json::from_str(&row.items)?,
        total_price: row.total_price.try_into()?,
        reason: row.reason.as_deref().map(serde_json::from_str).transpose()?,
        version: row.version,
        placed_at: rfc3339(from_unix_millis(row.placed_at)),
        updated_at: rfc3339(from_unix_millis(row.updated_at)),
    })
}
