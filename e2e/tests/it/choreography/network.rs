//! Everything that is on its way between the services, in one run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::{CustomerId, OrderId};
use inventory_service::stock::{Stock, StockMessage};
use messaging::Cause;
use order_service::order::{Order, OrderMessage};
use payment_service::payment::{Aggregates, Call, Outcome};
use time::OffsetDateTime;
use uuid::Uuid;

use super::provider::Provider;
use super::services::{
    Followed, Message, POLICY, begin_attempt, deliver_to_orders, deliver_to_stock, follow_payment,
};

/// A message on its way to one service, or to the provider and back.
#[derive(Debug, Clone)]
pub(super) enum Flying {
    To(Message),
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
    pub(super) aggregates: Aggregates,
    pub(super) provider: Provider,
    pub(super) flying: Vec<(u128, Flying)>,
    handled: BTreeSet<u128>,
    published: u128,
    waited: Duration,
    /// Events of each order, to see that none happens twice.
    pub(super) history: BTreeMap<OrderId, Vec<&'static str>>,
}

impl Network {
    /// Sends a message; each of its copies arrives by itself.
    pub(super) fn publish(&mut self, message: Flying, copies: usize) {
        self.published += 1;
        for _ in 0..copies {
            self.flying.push((self.published, message.clone()));
        }
    }

    /// Delivers one of the messages that are on their way; each answer flies as often as `copies` says.
    ///
    /// A second delivery reaches the decider like the first one, as if the inbox had forgotten it. Only units that
    /// come in are counted by the inbox alone.
    pub(super) fn deliver(&mut self, index: usize, copies: usize, fate: Fate) {
        let (id, message) = self.flying.swap_remove(index % self.flying.len());
        let is_first = self.handled.insert(id);
        match message {
            Flying::To(Message::Stock(StockMessage::Restock(_))) if !is_first => {}
            Flying::To(Message::Orders(message)) => {
                let followed = deliver_to_orders(&mut self.orders, &message);
                self.follow(followed, copies);
            }
            Flying::To(Message::Stock(message)) => {
                let followed = deliver_to_stock(&mut self.stock, &message);
                self.follow(followed, copies);
            }
            Flying::To(Message::Payments(message)) => {
                let id = Uuid::from_u128(id);
                let cause = Cause { id, correlation_id: id, trace_parent: None };
                let decided = self.aggregates.apply(&message, &cause, self.now(), &POLICY);
                self.follow(follow_payment(decided), copies);
            }
            Flying::Question { order, attempt, call, listened_to } => {
                let question =
                    Flying::Question { order: order.clone(), attempt, call: call.clone(), listened_to: false };
                let received = match fate {
                    Fate::Answered | Fate::AnswerLost => Some(self.provider.perform(&order, &call)),
                    Fate::Late if listened_to => {
                        self.publish(question, copies);
                        None
                    }
                    Fate::Late | Fate::Lost => None,
                };
                let outcome = received
                    .filter(|_| fate == Fate::Answered)
                    .unwrap_or_else(|| Outcome::unavailable("no answer"));
                if listened_to {
                    self.publish(Flying::Answer { order, attempt, outcome }, 1);
                }
            }
            Flying::Answer { order, attempt, outcome } => {
                let decided = self.aggregates.record(&order, attempt, &outcome, self.now(), &POLICY);
                self.follow(follow_payment(decided), copies);
            }
        }
    }

    /// Lets time pass: what waits for an account is looked at again, and the provider is asked about what is due.
    pub(super) fn wait(&mut self, time: Duration, copies: usize) {
        self.waited += time;
        let now = self.now();
        let orders: Vec<OrderId> = self.aggregates.payments.keys().cloned().collect();
        for order in orders {
            let decided = self.aggregates.recheck(&order, now, &POLICY);
            self.follow(follow_payment(decided), copies);
            self.begin_attempt(&order, copies);
        }
    }

    /// Whether payments have nothing left to do by themselves.
    pub(super) fn payments_rest(&self) -> bool {
        self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none())
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + self.waited
    }

    /// Begins an attempt where one is due; the question may be sent more than once.
    fn begin_attempt(&mut self, order: &OrderId, copies: usize) {
        let now = self.now();
        let Some((attempt, call)) = begin_attempt(&mut self.aggregates, order, now) else { return };
        for copy in 0..copies {
            let (order, call) = (order.clone(), call.clone());
            self.publish(Flying::Question { order, attempt, call, listened_to: copy == 0 }, 1);
        }
    }

    fn follow(&mut self, followed: Followed, copies: usize) {
        for (order, kind) in followed.happened {
            self.history.entry(order).or_default().push(kind);
        }
        for message in followed.published {
            // A timer one time less: where the order moves on, it may be taken back.
            let is_timer = matches!(message, Message::Orders(OrderMessage::StockDeadline(_)));
            self.publish(Flying::To(message), copies - usize::from(is_timer));
        }
    }

    /// What the provider has of a customer, in minor units, by the orders that customer placed.
    pub(super) fn charged(&self, customer: &CustomerId) -> i64 {
        let is_theirs = |order: &OrderId| {
            let charge = self.aggregates.payments.get(order).and_then(|payment| payment.charge.as_ref());
            charge.is_some_and(|charge| charge.customer_id == *customer)
        };
        let charged = self.provider.booked.iter().filter(|(order, booked)| booked.is_charged() && is_theirs(order));
        charged.map(|(_, booked)| booked.amount).sum()
    }
}
