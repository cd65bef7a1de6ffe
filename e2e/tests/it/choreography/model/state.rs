//! Everything that is known anywhere, and what may happen to it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use contracts::OrderId;
use contracts::query::OrderStatus;
use inventory_service::stock::{ReservationState, Stock, StockMessage};
use messaging::Cause;
use order_service::order::{Order, OrderMessage};
use payment_service::payment::{Aggregates, Call, Outcome, PaymentMessage, State};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::order_id;
use super::super::provider::Provider;
use super::super::services::{
    Followed, Message, POLICY, begin_attempt, deliver_to_orders, deliver_to_stock, follow_payment, is_waiting,
};
use super::Step;

/// What a message is, and which order it is about: enough to tell it from every other one.
pub(super) type Key = (&'static str, u8);

/// An attempt of which a worker waits for the answer, or has it in hand. In memory only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    order: u8,
    attempt: i64,
    call: Call,
    answer: Option<Outcome>,
}

/// A message, and whether it has been delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mail {
    message: Arc<Message>,
    delivered: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shop {
    pub(super) orders: Arc<BTreeMap<OrderId, Order>>,
    pub(super) stock: Arc<Stock>,
    pub(super) aggregates: Arc<Aggregates>,
    pub(super) provider: Provider,
    mails: BTreeMap<Key, Mail>,
    asks: Vec<Ask>,
    /// What was ever asked: it may arrive, or arrive again, at any time.
    asked: Vec<(u8, Call)>,
    overdue: [bool; 2],
    /// How many units came in.
    pub(super) units: u32,
    delivery_issues: u8,
}

fn key(message: &Message) -> Key {
    let order = message_order(message).map_or(0, |id| id.as_str().trim_start_matches("ORDER_").parse().unwrap());
    let what = match message {
        Message::Orders(message) => match message {
            OrderMessage::Place(_) => "place",
            OrderMessage::Cancel(_) => "cancel",
            OrderMessage::StockReserved(_) => "reserved",
            OrderMessage::StockBackordered(_) => "backordered",
            OrderMessage::StockRefused(_) => "refused",
            OrderMessage::PaymentCaptured(_) => "captured",
            OrderMessage::PaymentDeclined(_) => "declined",
            OrderMessage::StockDeadline(_) => "stock-deadline",
        },
        Message::Stock(message) => match message {
            StockMessage::Placed(_) => "placed, to inventory",
            StockMessage::Cancelled(_) => "cancelled, to inventory",
            StockMessage::Restock(_) => "restock",
        },
        Message::Payments(message) => match message {
            PaymentMessage::AccountChanged(_) | PaymentMessage::AccountDeleted(_) => "account",
            PaymentMessage::Placed(_) => "placed, to payments",
            PaymentMessage::Reserved(_) => "reserved, to payments",
            PaymentMessage::Cancelled(_) => "cancelled, to payments",
        },
    };
    (what, order)
}

fn message_order(message: &Message) -> Option<&OrderId> {
    match message {
        Message::Orders(message) => Some(message.order_id()),
        Message::Stock(StockMessage::Placed(order)) => Some(&order.order_id),
        Message::Stock(StockMessage::Cancelled(order)) => Some(&order.order_id),
        Message::Stock(StockMessage::Restock(_)) => None,
        Message::Payments(message) => message.order_id(),
    }
}

impl Shop {
    /// Puts messages into their streams; one that is there already is the same one.
    pub(super) fn publish(&mut self, published: Vec<Message>) {
        for message in published {
            let mail = || Mail { message: Arc::new(message.clone()), delivered: false };
            self.mails.entry(key(&message)).or_insert_with(mail);
        }
    }

    pub(super) fn was_published(&self, key: Key) -> bool {
        self.mails.contains_key(&key)
    }

    pub(super) fn status(&self, n: u8) -> Option<OrderStatus> {
        self.orders.get(&order_id(n)).and_then(Order::status)
    }

    pub(super) fn holds_stock(&self, n: u8) -> bool {
        let held = self.stock.reservations.get(&order_id(n));
        held.is_some_and(|held| held.state == ReservationState::Reserved)
    }

    pub(super) fn is_charged(&self, n: u8) -> bool {
        self.provider.booked.get(&order_id(n)).is_some_and(|booked| booked.is_charged())
    }

    /// Whether nothing is left that has to happen. Late and repeated messages may still come.
    pub(super) fn rests(&self) -> bool {
        let is_received = |(_, mail): (&Key, &Mail)| {
            mail.delivered || matches!(*mail.message, Message::Orders(OrderMessage::StockDeadline(_)))
        };
        self.mails.iter().all(is_received)
            && !self.orders.values().any(is_waiting)
            && self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none())
    }
}

impl Shop {
    /// What may happen next, with so many delivery issues in all.
    pub(super) fn steps(&self, delivery_issues: u8, steps: &mut Vec<Step>) {
        let delivery_issue_left = self.delivery_issues < delivery_issues;
        steps.extend(self.mails.keys().map(|key| Step::Deliver(*key)));
        steps.extend(self.asked.iter().map(|(n, call)| Step::Arrive(*n, call.clone())));
        for ask in &self.asks {
            if ask.answer.is_some() {
                steps.push(Step::Record(ask.order, ask.attempt));
                continue;
            }
            steps.push(Step::Answer(ask.order, ask.attempt));
            if delivery_issue_left {
                steps.push(Step::GiveUp(ask.order, ask.attempt));
            }
        }
        for n in 0..2 {
            let Some(payment) = self.aggregates.payments.get(&order_id(n)) else { continue };
            if payment.next_attempt_at.is_none() {
                continue;
            }
            if payment.state == State::AwaitingAccount {
                steps.push(Step::LookAgain(n));
            } else if delivery_issue_left || self.asks.iter().all(|ask| ask.order != n) {
                // While somebody waits for an answer, another claims it only where the lease has run out.
                steps.push(Step::Claim(n));
            }
            if !self.overdue[usize::from(n)] {
                steps.push(Step::Overdue(n));
            }
        }
        if delivery_issue_left && !self.asks.is_empty() {
            steps.push(Step::Crash);
        }
    }

    pub(super) fn after(&self, step: Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Deliver(key) => next.deliver(key),
            Step::Claim(n) => next.claim(n),
            Step::Arrive(n, call) => {
                next.provider.perform(&order_id(n), &call);
            }
            Step::Answer(n, attempt) => {
                let Self { asks, provider, .. } = &mut next;
                for ask in asks.iter_mut().filter(|ask| (ask.order, ask.attempt) == (n, attempt)) {
                    ask.answer = Some(provider.perform(&order_id(n), &ask.call));
                }
            }
            Step::GiveUp(n, attempt) => {
                next.delivery_issues += 1;
                for ask in next.asks.iter_mut().filter(|ask| (ask.order, ask.attempt) == (n, attempt)) {
                    ask.answer = Some(Outcome::unavailable("no answer"));
                }
            }
            Step::Record(n, attempt) => next.record(n, attempt),
            Step::LookAgain(n) => {
                let decided = Arc::make_mut(&mut next.aggregates).recheck(&order_id(n), self.now(n), &POLICY);
                next.follow(follow_payment(decided));
            }
            Step::Overdue(n) => next.overdue[usize::from(n)] = true,
            Step::Crash => {
                next.delivery_issues += 1;
                next.asks.clear();
            }
        }
        next.forget_time();
        next
    }

    pub(super) fn deliver(&mut self, key: Key) {
        let Some(mail) = self.mails.get_mut(&key) else { return };
        // A timer is taken back where it is not needed, so that it has come says nothing.
        mail.delivered = key.0 != "stock-deadline";
        let message = Arc::clone(&mail.message);
        let followed = match &*message {
            Message::Orders(message) => deliver_to_orders(Arc::make_mut(&mut self.orders), message),
            Message::Stock(message) => deliver_to_stock(Arc::make_mut(&mut self.stock), message),
            Message::Payments(message) => {
                let cause = Cause { id: Uuid::nil(), correlation_id: Uuid::nil(), trace_parent: None };
                let now = self.now(key.1);
                follow_payment(Arc::make_mut(&mut self.aggregates).apply(message, &cause, now, &POLICY))
            }
        };
        self.follow(followed);
    }

    fn claim(&mut self, n: u8) {
        let now = self.now(n);
        let Some((attempt, call)) = begin_attempt(Arc::make_mut(&mut self.aggregates), &order_id(n), now) else {
            return;
        };
        if self.asks.iter().any(|ask| ask.order == n) {
            self.delivery_issues += 1;
        }
        if !self.asked.contains(&(n, call.clone())) {
            self.asked.push((n, call.clone()));
            self.asked.sort_by_key(|(n, call)| (*n, rank(call)));
        }
        self.asks.push(Ask { order: n, attempt, call, answer: None });
        self.asks.sort_by_key(|ask| (ask.order, ask.attempt));
    }

    fn record(&mut self, n: u8, attempt: i64) {
        let Some(at) = self.asks.iter().position(|ask| (ask.order, ask.attempt) == (n, attempt)) else { return };
        let Some(outcome) = self.asks.remove(at).answer else { return };
        let now = self.now(n);
        let decided = Arc::make_mut(&mut self.aggregates).record(&order_id(n), attempt, &outcome, now, &POLICY);
        self.follow(follow_payment(decided));
    }

    fn follow(&mut self, followed: Followed) {
        self.publish(followed.published);
    }

    /// The time as far as this order's payment is concerned: early, or late.
    fn now(&self, n: u8) -> OffsetDateTime {
        let late = POLICY.provider_deadline.max(POLICY.account_wait) + Duration::from_secs(1);
        OffsetDateTime::UNIX_EPOCH + if self.overdue[usize::from(n)] { late } else { Duration::ZERO }
    }

    /// Waits are over as soon as they begin: how long they are decides nothing.
    fn forget_time(&mut self) {
        if self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none()) {
            return;
        }
        for payment in Arc::make_mut(&mut self.aggregates).payments.values_mut() {
            payment.next_attempt_at = payment.next_attempt_at.map(|_| OffsetDateTime::UNIX_EPOCH);
        }
    }
}

fn rank(call: &Call) -> u8 {
    match call {
        Call::Capture { .. } => 0,
        Call::Lookup => 1,
        Call::Void => 2,
        Call::Refund { .. } => 3,
    }
}

/// Everything that decides something. Left out are ids of causes, versions, and times, which do not, and what
/// follows from the rest.
impl Hash for Shop {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (id, order) in &*self.orders {
            (id, discriminant(order), order.status().map(|status| discriminant(&status))).hash(hasher);
        }
        for (id, held) in &self.stock.reservations {
            let position = match held.state {
                ReservationState::Waiting { position } => position,
                _ => 0,
            };
            (id, discriminant(&held.state), position, held.lines.len()).hash(hasher);
        }
        for product in self.stock.products.values() {
            (product.available, product.reserved, product.backordered, product.last_position).hash(hasher);
        }
        for (id, payment) in &self.aggregates.payments {
            (id, discriminant(&payment.state), payment.charge.is_some(), payment.attempts).hash(hasher);
            (payment.reserved.is_some(), payment.cancelled.is_some(), payment.due_since).hash(hasher);
            payment.next_attempt_at.is_some().hash(hasher);
        }
        for (id, account) in &self.aggregates.accounts {
            (id, account.version, account.terms.is_some()).hash(hasher);
        }
        self.aggregates.exposures.values().for_each(|exposure| exposure.hash(hasher));
        for (key, mail) in &self.mails {
            (key, mail.delivered).hash(hasher);
        }
        for ask in &self.asks {
            (ask.order, ask.attempt, rank(&ask.call), ask.answer.as_ref().map(discriminant)).hash(hasher);
        }
        self.asks.len().hash(hasher);
        self.asked.iter().for_each(|(n, call)| (n, rank(call)).hash(hasher));
        (&self.provider, self.overdue, self.units, self.delivery_issues).hash(hasher);
    }
}
