//! Orders that stay in a state for too long, and the cause.

use std::time::Duration;

use choreography_ops::checks::{MAX_OUTBOX_AGE_MS, Observed, Violation};
use contracts::query::{Open, OrderStatus};
use contracts::topology::{INVENTORY_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Totals;

/// The maximum time for messages between two services.
const MAX_HANDOVER: Duration = Duration::from_secs(60);

/// Returns how long an order may stay in a state; `None` if that is unknown.
pub(super) fn limit(status: OrderStatus, stock_deadline_seconds: Option<u64>) -> Option<Duration> {
    match status {
        OrderStatus::AwaitingStock => {
            Some(Duration::from_secs(stock_deadline_seconds?).saturating_add(MAX_HANDOVER))
        }
        _ => Some(MAX_HANDOVER),
    }
}

/// Reports an order that has stayed in a state for longer than `limit`, with the cause.
pub(super) fn order(
    observed: &Observed,
    totals: &Totals,
    status: OrderStatus,
    order: &Open,
    limit: Option<Duration>,
) -> Option<Violation> {
    let since = OffsetDateTime::parse(&order.since, &Rfc3339).ok()?;
    let age = Duration::try_from(observed.at - since).ok()?;
    if age <= limit? {
        return None;
    }
    let explanation = format!(
        "it is {} since {} ({} s): {}",
        status.as_str(),
        order.since,
        age.as_secs(),
        cause(observed, totals, status, order)
    );
    Some(Violation::of(order.order_id.as_str(), explanation).identified(format!("{}/stalled", order.order_id)))
}

/// Returns why an order makes no progress, as far as services and streams show.
fn cause(observed: &Observed, totals: &Totals, status: OrderStatus, order: &Open) -> String {
    if let (OrderStatus::Reserved, Ok(payments)) = (status, &totals.payments) {
        let issue = payments.issues.iter().find(|issue| issue.order_id == order.order_id);
        if let Some(issue) = issue {
            let answer = issue.answer.as_deref().unwrap_or("no response yet");
            return format!("the payment provider was called {} times: {answer}", issue.attempts);
        }
        if payments.oldest.iter().any(|payment| payment.order_id == order.order_id) {
            return format!("{PAYMENT_SERVICE} waits for the payment provider");
        }
    }
    let next = match status {
        OrderStatus::Placed => INVENTORY_SERVICE,
        OrderStatus::Reserved => PAYMENT_SERVICE,
        _ => ORDER_SERVICE,
    };
    for service in [next, ORDER_SERVICE] {
        match observed.stats.get(service) {
            Some(Err(why)) => return why.clone(),
            Some(Ok(stats)) if stats.outbox_age_ms.is_some_and(|age| age > MAX_OUTBOX_AGE_MS) => {
                return format!("{service} has {} pending messages", stats.outbox_depth);
            }
            _ => {}
        }
        let lags = observed.lags.as_ref().map(Vec::as_slice).unwrap_or_default();
        if let Some(lag) =
            lags.iter().find(|lag| lag.service == service && (lag.pending > 0 || lag.missing.is_some()))
        {
            return lag.describe();
        }
    }
    format!("no message about it is under way; a message is lost: run choreo explain {}", order.order_id)
}
