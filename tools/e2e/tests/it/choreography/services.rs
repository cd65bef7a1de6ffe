//! The deciders of all services, and the consumers of their events.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::Publish as _;
use contracts::OrderId;
use contracts::inventory::InventoryEvent;
use contracts::order::{OrderEvent, StockDeadlinePassed};
use contracts::payment::PaymentEvent;
use inventory_service::stock::{Stock, StockMessage};
use order_service::order::{Order, OrderMessage, Stage, decide, evolve};
use payment_service::payment::{Aggregates, Call, Decided, PaymentMessage, Policy};
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) const POLICY: Policy = Policy {
    account_wait: Duration::from_secs(30),
    provider_deadline: Duration::from_secs(60),
    retry_limit: Duration::from_secs(3600),
    fetch_accounts: false,
};
/// The lease of an attempt at the provider.
const LEASE: Duration = Duration::from_secs(20);

/// A message, by its consuming service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Orders(OrderMessage),
    Stock(StockMessage),
    Payments(PaymentMessage),
}

/// The outcome of a message: the events, and the messages to their consumers.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) happened: Vec<(OrderId, &'static str)>,
    pub(super) published: Vec<Message>,
}

pub(super) fn deliver_to_orders(orders: &mut BTreeMap<OrderId, Order>, message: &OrderMessage) -> Followed {
    let id = message.order_id().clone();
    let order = orders.entry(id.clone()).or_default();
    let waited = is_waiting(order);
    let events = decide(order, message);
    *order = events.iter().fold(std::mem::take(order), evolve);
    let mut followed = Followed::default();
    if !waited && is_waiting(order) {
        let deadline = OrderMessage::StockDeadline(StockDeadlinePassed { order_id: id.clone() });
        followed.published.push(Message::Orders(deadline));
    }
    for event in events {
        followed.happened.push((id.clone(), event.message_type()));
        match event {
            OrderEvent::Placed(placed) => {
                followed.published.push(Message::Stock(StockMessage::Placed(placed.clone())));
                followed.published.push(Message::Payments(PaymentMessage::Placed(placed)));
            }
            OrderEvent::Cancelled(cancelled) => {
                followed.published.push(Message::Stock(StockMessage::Cancelled(cancelled.clone())));
                followed.published.push(Message::Payments(PaymentMessage::Cancelled(cancelled)));
            }
            _ => {}
        }
    }
    followed
}

pub(super) fn deliver_to_stock(stock: &mut Stock, message: &StockMessage) -> Followed {
    let mut followed = Followed::default();
    for decided in stock.decide(message, Uuid::nil()) {
        let kind = decided.event.message_type();
        let to_orders = match decided.event {
            InventoryEvent::Reserved(event) => {
                followed.happened.push((event.order_id.clone(), kind));
                followed.published.push(Message::Payments(PaymentMessage::Reserved(event.clone())));
                OrderMessage::StockReserved(event)
            }
            InventoryEvent::Backordered(event) => OrderMessage::StockBackordered(event),
            InventoryEvent::Refused(event) => OrderMessage::StockRefused(event),
            InventoryEvent::Released(event) => {
                followed.happened.push((event.order_id, kind));
                continue;
            }
            InventoryEvent::Restocked(_) => continue,
        };
        followed.published.push(Message::Orders(to_orders));
    }
    followed
}

/// Returns the events and messages of a decision about a payment.
pub(super) fn follow_payment(decided: Option<Decided>) -> Followed {
    let Some(Decided { event, .. }) = decided else { return Followed::default() };
    let kind = event.message_type();
    let (order, to_orders) = match event {
        PaymentEvent::Captured(event) => (event.order_id.clone(), Some(OrderMessage::PaymentCaptured(event))),
        PaymentEvent::Declined(event) => (event.order_id.clone(), Some(OrderMessage::PaymentDeclined(event))),
        PaymentEvent::Refunded(event) => (event.order_id, None),
    };
    Followed { happened: vec![(order, kind)], published: to_orders.map(Message::Orders).into_iter().collect() }
}

/// Begins an attempt as the service's worker does, if one is due: increments its number. Returns the request.
pub(super) fn begin_attempt(
    aggregates: &mut Aggregates,
    order: &OrderId,
    now: OffsetDateTime,
) -> Option<(i64, Call)> {
    let payment = aggregates.payments.get_mut(order)?;
    if !payment.state.is_exposed() || payment.next_attempt_at.is_none_or(|next| next > now) {
        return None;
    }
    payment.attempts += 1;
    payment.next_attempt_at = Some(now + LEASE);
    let call = payment.call(order, now, &POLICY).expect("a due payment has a request");
    Some((payment.attempts, call))
}

pub(super) fn is_waiting(order: &Order) -> bool {
    matches!(order, Order::Open { stage: Stage::AwaitingStock, .. })
}
