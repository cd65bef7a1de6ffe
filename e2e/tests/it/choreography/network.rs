//! The deciders of all services, and everything that is on its way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::inventory::InventoryEvent;
use contracts::order::{OrderEvent, StockDeadlinePassed};
use contracts::payment::PaymentEvent;
use contracts::{CustomerId, OrderId};
use inventory_service::stock::{Stock, StockMessage};
use messaging::Cause;
use order_service::order::{Order, OrderMessage, Stage, decide, evolve};
use payment_service::payment::{Book, Call, Decided, Outcome, PaymentMessage, Policy};
use time::OffsetDateTime;
use uuid::Uuid;

use super::provider::Provider;

const POLICY: Policy = Policy {
    account_wait: Duration::from_secs(30),
    provider_deadline: Duration::from_secs(60),
    fetch_accounts: false,
};
/// How long an attempt at the provider is left alone.
const LEASE: Duration = Duration::from_secs(20);

/// A message on its way to one service, or to the provider and back.
#[derive(Debug, Clone)]
pub(super) enum Flying {
    ToOrders(OrderMessage),
    ToStock(StockMessage),
    ToPayments(PaymentMessage),
    Question { order: OrderId, attempt: i64, call: Call, listened_to: bool },
    Answer { order: OrderId, attempt: i64, outcome: Outcome },
}

/// What becomes of a question to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// The provider does it, and its answer is lost: with the connection, or with the process that waits for it.
    AnswerLost,
    /// The service gives up waiting, and it arrives later.
    Late,
    /// It never arrives.
    Lost,
}

#[derive(Default)]
pub(super) struct Network {
    pub(super) orders: BTreeMap<OrderId, Order>,
    pub(super) stock: Stock,
    pub(super) book: Book,
    pub(super) provider: Provider,
    pub(super) flying: Vec<(u128, Flying)>,
    handled: BTreeSet<u128>,
    said: u128,
    waited: Duration,
    /// Events of each order, to see that none happens twice.
    pub(super) history: BTreeMap<OrderId, Vec<&'static str>>,
}

impl Network {
    /// Sends a message; each of its copies arrives by itself.
    pub(super) fn say(&mut self, message: Flying, copies: usize) {
        self.said += 1;
        for _ in 0..copies {
            self.flying.push((self.said, message.clone()));
        }
    }

    /// Delivers one of the messages that are on their way; each answer flies as often as `copies` says.
    ///
    /// A second delivery reaches the decider like the first one, as if the inbox had forgotten it. Only pieces that
    /// come in are counted by the inbox alone.
    pub(super) fn deliver(&mut self, index: usize, copies: usize, fate: Fate) {
        let (id, message) = self.flying.swap_remove(index % self.flying.len());
        let is_first = self.handled.insert(id);
        match message {
            Flying::ToStock(StockMessage::Restock(_)) if !is_first => {}
            Flying::ToOrders(message) => self.tell_orders(&message, copies),
            Flying::ToStock(message) => self.tell_stock(&message, copies),
            Flying::ToPayments(message) => {
                let id = Uuid::from_u128(id);
                let cause = Cause { id, correlation_id: id, trace_parent: None };
                let decided = self.book.hear(&message, &cause, self.now(), &POLICY);
                self.say_of_payment(decided, copies);
            }
            Flying::Question { order, attempt, call, listened_to } => {
                let question =
                    Flying::Question { order: order.clone(), attempt, call: call.clone(), listened_to: false };
                let heard = match fate {
                    Fate::Answered | Fate::AnswerLost => Some(self.provider.perform(&order, &call)),
                    Fate::Late if listened_to => {
                        self.say(question, copies);
                        None
                    }
                    Fate::Late | Fate::Lost => None,
                };
                let outcome = heard.filter(|_| fate == Fate::Answered).unwrap_or(Outcome::Unavailable);
                if listened_to {
                    self.say(Flying::Answer { order, attempt, outcome }, 1);
                }
            }
            Flying::Answer { order, attempt, outcome } => {
                let decided = self.book.record(&order, attempt, &outcome, self.now(), &POLICY);
                self.say_of_payment(decided, copies);
            }
        }
    }

    /// Lets time pass: what waits for an account is looked at again, and the provider is asked about what is due.
    pub(super) fn wait(&mut self, time: Duration, copies: usize) {
        self.waited += time;
        let now = self.now();
        let orders: Vec<OrderId> = self.book.payments.keys().cloned().collect();
        for order in orders {
            let decided = self.book.look_again(&order, now, &POLICY);
            self.say_of_payment(decided, copies);
            self.begin_attempt(&order, copies);
        }
    }

    /// Whether payments have nothing left to do by themselves.
    pub(super) fn payments_rest(&self) -> bool {
        self.book.payments.values().all(|payment| payment.next_attempt_at.is_none())
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + self.waited
    }

    /// Begins an attempt as the service's worker does: its number goes up, the question may be sent more than once.
    fn begin_attempt(&mut self, order: &OrderId, copies: usize) {
        let now = self.now();
        let Some(payment) = self.book.payments.get_mut(order) else { return };
        if !payment.state.is_exposed() || payment.next_attempt_at.is_none_or(|next| next > now) {
            return;
        }
        payment.attempts += 1;
        payment.next_attempt_at = Some(now + LEASE);
        let attempt = payment.attempts;
        let call = payment.call(order, now, &POLICY).expect("whoever is due has something to ask");
        for copy in 0..copies {
            let (order, call) = (order.clone(), call.clone());
            self.say(Flying::Question { order, attempt, call, listened_to: copy == 0 }, 1);
        }
    }

    fn tell_orders(&mut self, message: &OrderMessage, copies: usize) {
        let id = message.order_id().clone();
        let order = self.orders.entry(id.clone()).or_default();
        let waited = is_waiting(order);
        let events = decide(order, message);
        *order = events.iter().fold(std::mem::take(order), evolve);
        if !waited && is_waiting(order) {
            // As often as answers fly, and one time less: where the order moves on, the timer may be taken back.
            let deadline = OrderMessage::StockDeadline(StockDeadlinePassed { order_id: id.clone() });
            self.say(Flying::ToOrders(deadline), copies - 1);
        }
        for event in events {
            self.history.entry(id.clone()).or_default().push(event.message_type());
            match event {
                OrderEvent::Placed(placed) => {
                    self.say(Flying::ToStock(StockMessage::Placed(placed.clone())), copies);
                    self.say(Flying::ToPayments(PaymentMessage::Placed(placed)), copies);
                }
                OrderEvent::Cancelled(cancelled) => {
                    self.say(Flying::ToStock(StockMessage::Cancelled(cancelled.clone())), copies);
                    self.say(Flying::ToPayments(PaymentMessage::Cancelled(cancelled)), copies);
                }
                _ => {}
            }
        }
    }

    fn tell_stock(&mut self, message: &StockMessage, copies: usize) {
        for decided in self.stock.decide(message, Uuid::nil()) {
            let kind = decided.event.message_type();
            let answer = match decided.event {
                InventoryEvent::Reserved(event) => {
                    self.note(&event.order_id, kind);
                    self.say(Flying::ToPayments(PaymentMessage::Reserved(event.clone())), copies);
                    OrderMessage::StockReserved(event)
                }
                InventoryEvent::Backordered(event) => OrderMessage::StockBackordered(event),
                InventoryEvent::Refused(event) => OrderMessage::StockRefused(event),
                InventoryEvent::Released(event) => {
                    self.note(&event.order_id, kind);
                    continue;
                }
                InventoryEvent::Restocked(_) => continue,
            };
            self.say(Flying::ToOrders(answer), copies);
        }
    }

    fn say_of_payment(&mut self, decided: Option<Decided>, copies: usize) {
        let Some(Decided { event, .. }) = decided else { return };
        let kind = event.message_type();
        let (order, answer) = match event {
            PaymentEvent::Captured(event) => (event.order_id.clone(), Some(OrderMessage::PaymentCaptured(event))),
            PaymentEvent::Declined(event) => (event.order_id.clone(), Some(OrderMessage::PaymentDeclined(event))),
            PaymentEvent::Refunded(event) => (event.order_id, None),
        };
        self.note(&order, kind);
        if let Some(answer) = answer {
            self.say(Flying::ToOrders(answer), copies);
        }
    }

    fn note(&mut self, order: &OrderId, kind: &'static str) {
        self.history.entry(order.clone()).or_default().push(kind);
    }

    /// What the provider has of a customer, in minor units, by the orders that customer placed.
    pub(super) fn charged(&self, customer: &CustomerId) -> i64 {
        let is_theirs = |order: &OrderId| {
            let charge = self.book.payments.get(order).and_then(|payment| payment.charge.as_ref());
            charge.is_some_and(|charge| charge.customer_id == *customer)
        };
        let charged = self.provider.booked.iter().filter(|(order, booked)| booked.is_charged() && is_theirs(order));
        charged.map(|(_, booked)| booked.amount).sum()
    }
}

fn is_waiting(order: &Order) -> bool {
    matches!(order, Order::Open { stage: Stage::AwaitingStock, .. })
}
