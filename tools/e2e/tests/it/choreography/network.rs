//! All messages in flight between the services, in one run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use choreography::Cause;
use contracts::{CustomerId, OrderId};
use inventory_service::stock::{Stock, StockMessage};
use order_service::order::{Order, OrderMessage};
use payment_service::payment::{Aggregates, Call, Outcome};
use time::OffsetDateTime;
use uuid::Uuid;

use super::provider::Provider;
use super::services::{
    Followed, Message, POLICY, begin_attempt, deliver_to_orders, deliver_to_stock, follow_payment,
};

/// A message to one service, or a request to the provider or its response.
#[derive(Debug, Clone)]
pub(super) enum Flying {
    To(Message),
    Request { order: OrderId, attempt: i64, call: Call, awaited: bool },
    Response { order: OrderId, attempt: i64, outcome: Outcome },
}

/// The fate of a request to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    /// The provider performs it, and its response is lost: with the connection, or with the waiting process.
    ResponseLost,
    /// The service times out, and the request arrives later.
    Late,
    /// The request never arrives.
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
    /// The events of each order, to detect duplicates.
    pub(super) history: BTreeMap<OrderId, Vec<&'static str>>,
}

impl Network {
    /// Publishes a message; each copy arrives independently.
    pub(super) fn publish(&mut self, message: Flying, copies: usize) {
        self.published += 1;
        for _ in 0..copies {
            self.flying.push((self.published, message.clone()));
        }
    }

    /// Delivers one of the messages in flight; each message it causes is sent in `copies` copies.
    ///
    /// A second delivery reaches the decider like the first one, without the inbox's deduplication. Only restocks
    /// rely on the inbox alone.
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
                let cause = Cause { id, correlation_id: id, trace_parent: None, auth: None };
                let decided = self.aggregates.apply(&message, &cause, self.now(), &POLICY);
                self.follow(follow_payment(decided), copies);
            }
            Flying::Request { order, attempt, call, awaited } => {
                let question =
                    Flying::Request { order: order.clone(), attempt, call: call.clone(), awaited: false };
                let received = match fate {
                    Fate::Completed | Fate::ResponseLost => Some(self.provider.perform(&order, &call)),
                    Fate::Late if awaited => {
                        self.publish(question, copies);
                        None
                    }
                    Fate::Late | Fate::Lost => None,
                };
                let outcome = received
                    .filter(|_| fate == Fate::Completed)
                    .unwrap_or_else(|| Outcome::unavailable("no response"));
                if awaited {
                    self.publish(Flying::Response { order, attempt, outcome }, 1);
                }
            }
            Flying::Response { order, attempt, outcome } => {
                let decided = self.aggregates.record(&order, attempt, &outcome, self.now(), &POLICY);
                self.follow(follow_payment(decided), copies);
            }
        }
    }

    /// Lets time pass: payments without an account are checked again, and due requests are sent to the provider.
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

    /// Whether no payment has a planned attempt.
    pub(super) fn payments_rest(&self) -> bool {
        self.aggregates.payments.values().all(|payment| payment.next_attempt_at.is_none())
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + self.waited
    }

    /// Begins an attempt if one is due; the request may be sent more than once.
    fn begin_attempt(&mut self, order: &OrderId, copies: usize) {
        let now = self.now();
        let Some((attempt, call)) = begin_attempt(&mut self.aggregates, order, now) else { return };
        for copy in 0..copies {
            let (order, call) = (order.clone(), call.clone());
            self.publish(Flying::Request { order, attempt, call, awaited: copy == 0 }, 1);
        }
    }

    fn follow(&mut self, followed: Followed, copies: usize) {
        for (order, kind) in followed.happened {
            self.history.entry(order).or_default().push(kind);
        }
        for message in followed.published {
            // One timer copy less: if the order advances, the timer may be cancelled.
            let is_timer = matches!(message, Message::Orders(OrderMessage::StockDeadline(_)));
            self.publish(Flying::To(message), copies - usize::from(is_timer));
        }
    }

    /// The total that the customer is charged, in minor units, by the payments' customers.
    pub(super) fn charged(&self, customer: &CustomerId) -> i64 {
        let is_theirs = |order: &OrderId| {
            let charge = self.aggregates.payments.get(order).and_then(|payment| payment.charge.as_ref());
            charge.is_some_and(|charge| charge.customer_id == *customer)
        };
        let charged =
            self.provider.charges.iter().filter(|(order, charges)| charges.is_charged() && is_theirs(order));
        charged.map(|(_, charges)| charges.amount).sum()
    }
}
