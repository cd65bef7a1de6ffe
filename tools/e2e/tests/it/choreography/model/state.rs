//! The state of the model, and its possible steps.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use choreography::Cause;
use contracts::OrderId;
use contracts::query::OrderStatus;
use inventory_service::stock::{ReservationState, Stock, StockMessage};
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

/// The kind of a message and its order, which identify it.
pub(super) type Key = (&'static str, u8);

/// An attempt whose worker waits for the response, or has it. In memory only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    order: u8,
    attempt: i64,
    call: Call,
    response: Option<Outcome>,
}

/// A published message, and whether it has been delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StoredMessage {
    message: Arc<Message>,
    delivered: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shop {
    pub(super) orders: Arc<BTreeMap<OrderId, Order>>,
    pub(super) stock: Arc<Stock>,
    pub(super) aggregates: Arc<Aggregates>,
    pub(super) provider: Provider,
    stored: BTreeMap<Key, StoredMessage>,
    open_requests: Vec<Request>,
    /// All requests so far: each may arrive, or arrive again, at any time.
    sent_requests: Vec<(u8, Call)>,
    overdue: [bool; 2],
    /// The number of units received.
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
    /// Publishes messages to their streams; a duplicate is the same message.
    pub(super) fn publish(&mut self, published: Vec<Message>) {
        for message in published {
            let entry = || StoredMessage { message: Arc::new(message.clone()), delivered: false };
            self.stored.entry(key(&message)).or_insert_with(entry);
        }
    }

    pub(super) fn was_published(&self, key: Key) -> bool {
        self.stored.contains_key(&key)
    }

    pub(super) fn status(&self, n: u8) -> Option<OrderStatus> {
        self.orders.get(&order_id(n)).and_then(Order::status)
    }

    pub(super) fn holds_stock(&self, n: u8) -> bool {
        let held = self.stock.reservations.get(&order_id(n));
        held.is_some_and(|held| held.state == ReservationState::Reserved)
    }

    pub(super) fn is_charged(&self, n: u8) -> bool {
        self.provider.charges.get(&order_id(n)).is_some_and(|charges| charges.is_charged())
    }

    /// Whether nothing is left that must happen. Late and repeated messages may still arrive.
    pub(super) fn rests(&self) -> bool {
        let is_received = |(_, entry): (&Key, &StoredMessage)| {
            entry.delivered || matches!(*entry.message, Message::Orders(OrderMessage::StockDeadline(_)))
        };
        self.stored.iter().all(is_received)
            && !self.orders.values().any(is_waiting)
            && self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none())
    }
}

impl Shop {
    /// Adds the possible steps, with at most this number of delivery issues in total.
    pub(super) fn steps(&self, delivery_issues: u8, steps: &mut Vec<Step>) {
        let delivery_issue_left = self.delivery_issues < delivery_issues;
        steps.extend(self.stored.keys().map(|key| Step::Deliver(*key)));
        steps.extend(self.sent_requests.iter().map(|(n, call)| Step::Arrive(*n, call.clone())));
        for request in &self.open_requests {
            if request.response.is_some() {
                steps.push(Step::Record(request.order, request.attempt));
                continue;
            }
            steps.push(Step::Respond(request.order, request.attempt));
            if delivery_issue_left {
                steps.push(Step::TimeOut(request.order, request.attempt));
            }
        }
        for n in 0..2 {
            let Some(payment) = self.aggregates.payments.get(&order_id(n)) else { continue };
            if payment.next_attempt_at.is_none() {
                continue;
            }
            if payment.state == State::AwaitingAccount {
                steps.push(Step::Recheck(n));
            } else if delivery_issue_left || self.open_requests.iter().all(|request| request.order != n) {
                // While a worker waits for a response, another one claims the payment only if the lease has expired.
                steps.push(Step::Claim(n));
            }
            if !self.overdue[usize::from(n)] {
                steps.push(Step::Overdue(n));
            }
        }
        if delivery_issue_left && !self.open_requests.is_empty() {
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
            Step::Respond(n, attempt) => {
                let Self { open_requests, provider, .. } = &mut next;
                for request in
                    open_requests.iter_mut().filter(|request| (request.order, request.attempt) == (n, attempt))
                {
                    request.response = Some(provider.perform(&order_id(n), &request.call));
                }
            }
            Step::TimeOut(n, attempt) => {
                next.delivery_issues += 1;
                for request in
                    next.open_requests.iter_mut().filter(|request| (request.order, request.attempt) == (n, attempt))
                {
                    request.response = Some(Outcome::unavailable("no response"));
                }
            }
            Step::Record(n, attempt) => next.record(n, attempt),
            Step::Recheck(n) => {
                let decided = Arc::make_mut(&mut next.aggregates).recheck(&order_id(n), self.now(n), &POLICY);
                next.follow(follow_payment(decided));
            }
            Step::Overdue(n) => next.overdue[usize::from(n)] = true,
            Step::Crash => {
                next.delivery_issues += 1;
                next.open_requests.clear();
            }
        }
        next.forget_time();
        next
    }

    pub(super) fn deliver(&mut self, key: Key) {
        let Some(entry) = self.stored.get_mut(&key) else { return };
        // A timer is cancelled if it is not needed, so its delivery proves nothing.
        entry.delivered = key.0 != "stock-deadline";
        let message = Arc::clone(&entry.message);
        let followed = match &*message {
            Message::Orders(message) => deliver_to_orders(Arc::make_mut(&mut self.orders), message),
            Message::Stock(message) => deliver_to_stock(Arc::make_mut(&mut self.stock), message),
            Message::Payments(message) => {
                let cause = Cause { id: Uuid::nil(), correlation_id: Uuid::nil(), trace_parent: None, auth: None };
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
        if self.open_requests.iter().any(|request| request.order == n) {
            self.delivery_issues += 1;
        }
        if !self.sent_requests.contains(&(n, call.clone())) {
            self.sent_requests.push((n, call.clone()));
            self.sent_requests.sort_by_key(|(n, call)| (*n, rank(call)));
        }
        self.open_requests.push(Request { order: n, attempt, call, response: None });
        self.open_requests.sort_by_key(|request| (request.order, request.attempt));
    }

    fn record(&mut self, n: u8, attempt: i64) {
        let Some(at) =
            self.open_requests.iter().position(|request| (request.order, request.attempt) == (n, attempt))
        else {
            return;
        };
        let Some(outcome) = self.open_requests.remove(at).response else { return };
        let now = self.now(n);
        let decided = Arc::make_mut(&mut self.aggregates).record(&order_id(n), attempt, &outcome, now, &POLICY);
        self.follow(follow_payment(decided));
    }

    fn follow(&mut self, followed: Followed) {
        self.publish(followed.published);
    }

    /// The time for this order's payment: early, or after its deadlines.
    fn now(&self, n: u8) -> OffsetDateTime {
        let late = POLICY.provider_deadline.max(POLICY.account_wait) + Duration::from_secs(1);
        OffsetDateTime::UNIX_EPOCH + if self.overdue[usize::from(n)] { late } else { Duration::ZERO }
    }

    /// Waits end as soon as they begin: their length decides nothing.
    fn forget_time(&mut self) {
        if self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none()) {
            return;
        }
        let payments = &mut Arc::make_mut(&mut self.aggregates).payments;
        for order_id in payments.keys().cloned().collect::<Vec<_>>() {
            if let Some(payment) = payments.get_mut(&order_id) {
                payment.next_attempt_at = payment.next_attempt_at.map(|_| OffsetDateTime::UNIX_EPOCH);
            }
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

/// All fields that decide something. Ids of causes, versions, and times do not, and derived fields are left out.
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
        for (key, entry) in &self.stored {
            (key, entry.delivered).hash(hasher);
        }
        for request in &self.open_requests {
            (request.order, request.attempt, rank(&request.call), request.response.as_ref().map(discriminant))
                .hash(hasher);
        }
        self.open_requests.len().hash(hasher);
        self.sent_requests.iter().for_each(|(n, call)| (n, rank(call)).hash(hasher));
        (&self.provider, self.overdue, self.units, self.delivery_issues).hash(hasher);
    }
}
