//! The outcome of a command to an order: the order is final, or the command is refused.
//!
//! Events trigger queries, and the order service's replies decide.

use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use choreography::Messages as _;
use choreography_http::problem::Problem;
use choreography_http::queries::{Queries, decode};
use choreography_http::waiter::{Pace, Signal, Waiter, is_caused_by, message_type};
use contracts::OrderId;
use contracts::order::{OrderDetails, OrderEvent, PlaceOrder};
use contracts::query::{OrderStatus, OrderView};
use uuid::Uuid;

use crate::problems;

/// How often an order is queried.
const PACE: Pace =
    Pace { first: Duration::ZERO, interval: Duration::from_secs(3), fast: Duration::from_millis(250) };

/// The state that a caller waits for.
pub(super) enum Expected<'a> {
    /// This order, with this content, is final.
    Placed(&'a PlaceOrder),
    /// The order is cancelled.
    Cancelled,
}

/// The JSON of the final order, or the reason of a refusal.
pub(super) type Outcome = Result<Bytes, Problem>;

/// Returns the subjects of an order's events.
pub(super) fn subjects(order_id: &OrderId) -> String {
    format!("order.event.*.{order_id}")
}

/// Waits for the expected state after a command, at most `wait`; `None` if there is none by then.
pub(super) async fn outcome(
    waiter: Waiter,
    queries: &Queries,
    order_id: &OrderId,
    command: Uuid,
    expected: &Expected<'_>,
    wait: Duration,
) -> Option<Outcome> {
    let poll = move || async move {
        let json = queries.get(format!("order.query.get.{order_id}"), problems::ORDER_NOT_FOUND).await.ok()?;
        let view: OrderView = decode(&json).ok()?;
        judge(&view, expected).map(|judged| judged.map(|()| json))
    };
    waiter.outcome(wait, PACE, |event| signal(event, command), poll).await
}

/// Evaluates the state of the order: final as expected, refused, or (`None`) undecided.
fn judge(view: &OrderView, expected: &Expected<'_>) -> Option<Result<(), Problem>> {
    match expected {
        // The content of an order never changes, so an order with other content is another request's.
        Expected::Placed(order) if !same_content(view, order) => {
            Some(Err(Problem::new(problems::ORDER_ID_ALREADY_USED)))
        }
        Expected::Cancelled if view.status == OrderStatus::Confirmed => {
            Some(Err(Problem::new(problems::ORDER_ALREADY_CONFIRMED)))
        }
        Expected::Placed(_) | Expected::Cancelled => view.status.is_final().then_some(Ok(())),
    }
}

fn same_content(view: &OrderView, order: &PlaceOrder) -> bool {
    let OrderDetails { order_id, customer_id, currency, items, total_price } = &**order;
    view.order_id == *order_id
        && view.customer_id == *customer_id
        && view.currency == *currency
        && view.items == *items
        && view.total_price == *total_price
}

/// Evaluates an event of the order.
fn signal(event: &Message, command: Uuid) -> Signal<Outcome> {
    let Some(message_type) = message_type(event) else { return Signal::Nothing };
    let refused = |code| Signal::Outcome(Err(Problem::new(code)));
    match OrderEvent::decode(message_type, &event.payload) {
        Ok(OrderEvent::Confirmed(_) | OrderEvent::Cancelled(_)) => Signal::Poll,
        Ok(OrderEvent::PlaceRefused(_)) if is_caused_by(command, event) => refused(problems::ORDER_ID_ALREADY_USED),
        Ok(OrderEvent::CancelRefused(_)) if is_caused_by(command, event) => {
            refused(problems::ORDER_ALREADY_CONFIRMED)
        }
        _ => Signal::Nothing,
    }
}
