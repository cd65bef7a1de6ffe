//! A small shop under a model checker: not many random orders of delivery, but all of them.
//!
//! One order with an unreliable provider, and two orders of one customer with a reliable one, each for one unit of one
//! product; the first may be cancelled at any time. A published message stays in a stream: it arrives at any later
//! time, and again at any time after that, without the inbox's deduplication. So a redelivery, a lost acknowledgement,
//! and a late publication are ordinary deliveries, and a kill between two transactions loses nothing that this does not
//! cover. A kill does lose the memory of payment-service: the responses of the provider. The provider itself guarantees
//! at most one charge per key; no property here checks that.
//!
//! Time is not counted. Every planned attempt may begin at any time; the deadlines of a payment pass in a step of their
//! own, and a stock deadline may be due as soon as it is set.

mod state;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use contracts::order::{CancelOrder, OrderDetails, OrderItem, PlaceOrder};
use contracts::query::OrderStatus;
use contracts::{Amount, Currency, Quantity};
use inventory_service::stock::ReservationState;
use order_service::order::OrderMessage;
use payment_service::payment::Call;
use stateright::{Checker, HasDiscoveries, Model, Property};
use uuid::Uuid;

use super::services::Message;
use super::{account, customer_id, order_id, product_id, restock};
use state::{Key, Shop};

/// The price of each order and the credit limit of the customer: one order is within the limit, two are not.
const PRICE: i64 = 1;

/// A possible next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A published message is delivered, for the first time or again.
    Deliver(Key),
    /// A worker of payment-service claims an order's payment, and sends a request to the provider.
    Claim(u8),
    /// The request arrives at the provider, even if no worker waits for the response.
    Arrive(u8, Call),
    /// The request arrives, and the worker receives the response of that attempt.
    Respond(u8, i64),
    /// The worker stops waiting for the response.
    TimeOut(u8, i64),
    /// The worker records the response.
    Record(u8, i64),
    /// A worker checks a payment without an account again.
    Recheck(u8),
    /// The deadlines of a payment pass.
    Overdue(u8),
    /// payment-service is killed.
    Crash,
}

/// The size of the model.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The number of orders; the first one may be cancelled.
    orders: u8,
    /// The numbers of units to check. With fewer units than orders, one order waits.
    units: &'static [u32],
    /// How often a worker may time out, lose its lease, or be killed.
    delivery_issues: u8,
    /// Whether the account may arrive late, and the bank may decline a card.
    any_account: bool,
}

impl Bounds {
    fn commands(self, cancelled: bool) -> Vec<Message> {
        let mut published = vec![account("ANN", 1, PRICE)];
        for n in 0..self.orders {
            let item = OrderItem {
                product_id: product_id(0),
                quantity: Quantity::parse(1).unwrap(),
                unit_price: Amount::parse(PRICE).unwrap(),
            };
            let details =
                OrderDetails::new(order_id(n), customer_id("ANN"), Currency::EUR, vec![item], None).unwrap();
            published.push(Message::Orders(OrderMessage::Place(PlaceOrder(details))));
        }
        let cancel = OrderMessage::Cancel(CancelOrder { order_id: order_id(0), reason: None });
        published.extend(cancelled.then_some(Message::Orders(cancel)));
        published
    }

    fn start(self, units: u32, refused: Option<u8>, cancelled: bool) -> Shop {
        let mut shop = Shop::default();
        shop.units = units;
        if units > 0 {
            Arc::make_mut(&mut shop.stock).decide(&restock(0, units), Uuid::nil());
        }
        shop.provider.declines = refused.map(order_id).into_iter().collect();
        shop.publish(self.commands(cancelled));
        if !self.any_account {
            shop.deliver(("account", 0));
        }
        shop
    }
}

impl Model for Bounds {
    type State = Shop;
    type Action = Step;

    fn init_states(&self) -> Vec<Shop> {
        let refused = if self.any_account { vec![None, Some(0)] } else { vec![None] };
        let kinds = refused.iter().flat_map(|refused| [(*refused, false), (*refused, true)]);
        let starts = self
            .units
            .iter()
            .flat_map(|units| kinds.clone().map(|(refused, cancelled)| self.start(*units, refused, cancelled)));
        starts.collect()
    }

    fn actions(&self, shop: &Shop, steps: &mut Vec<Step>) {
        shop.steps(self.delivery_issues, steps);
    }

    fn next_state(&self, shop: &Shop, step: Step) -> Option<Shop> {
        let next = shop.after(step);
        (digest(&next) != digest(shop)).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no more units are reserved than exist", |_, shop: &Shop| stock_reconciles(shop)),
            Property::always("no customer is charged above the limit", |_, shop: &Shop| is_within_limit(shop)),
            Property::always("a confirmed order is reserved and charged", |_, shop: &Shop| {
                ids(shop, OrderStatus::Confirmed).all(|n| shop.holds_stock(n) && shop.is_charged(n))
            }),
            Property::always("a cancelled order is neither reserved nor charged", |_, shop: &Shop| {
                !shop.rests()
                    || ids(shop, OrderStatus::Cancelled).all(|n| !shop.holds_stock(n) && !shop.is_charged(n))
            }),
            Property::always("a payment is captured or declined", |_, shop: &Shop| {
                (0..2).all(|n| !(shop.was_published(("captured", n)) && shop.was_published(("declined", n))))
            }),
            Property::always(
                "the shop is not at rest before its orders have ended",
                |model: &Self, shop: &Shop| !shop.rests() || model.has_ended(shop),
            ),
            // Valid here, though not in general: no path has a cycle, and terminal states stay.
            Property::eventually("every order ends", |model: &Self, shop: &Shop| model.has_ended(shop)),
            Property::sometimes("an order is confirmed", |_, shop: &Shop| {
                ids(shop, OrderStatus::Confirmed).count() > 0
            }),
            Property::sometimes("a payment is refunded", |_, shop: &Shop| {
                shop.provider.charges.values().any(|charges| charges.refunds > 0)
            }),
            Property::sometimes("stock is released", |_, shop: &Shop| {
                shop.stock.reservations.values().any(|held| held.state == ReservationState::Released)
            }),
        ]
    }
}

impl Bounds {
    fn has_ended(&self, shop: &Shop) -> bool {
        let ended = |n| matches!(shop.status(n), Some(OrderStatus::Confirmed | OrderStatus::Cancelled));
        (0..self.orders).all(ended)
    }
}

/// The identity of a state for the checker: states that differ only in irrelevant details are equal.
fn digest(shop: &Shop) -> u64 {
    let mut hasher = DefaultHasher::new();
    shop.hash(&mut hasher);
    hasher.finish()
}

fn ids(shop: &Shop, status: OrderStatus) -> impl Iterator<Item = u8> + '_ {
    (0..2).filter(move |n| shop.status(*n) == Some(status))
}

fn stock_reconciles(shop: &Shop) -> bool {
    let held = (0..2_u8).filter(|n| shop.holds_stock(*n)).count() as u64;
    let all =
        shop.stock.products.values().all(|product| {
            product.reserved == held && product.available + product.reserved == u64::from(shop.units)
        });
    all && held <= u64::from(shop.units)
}

fn is_within_limit(shop: &Shop) -> bool {
    let exposed: i64 = shop.aggregates.exposures.values().sum();
    let charged: i64 =
        shop.provider.charges.values().filter(|charges| charges.is_charged()).map(|charges| charges.amount).sum();
    charged <= exposed && exposed <= PRICE
}

/// Checks all states and prints their number; fewer states than `at_least` mean that the model shrank.
#[allow(clippy::print_stderr, reason = "the size of what was checked belongs into the test's output")]
fn check(bounds: Bounds, at_least: usize) {
    let begun = Instant::now();
    let checker = bounds.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation.discovery_is_failure() {
            let steps = path.into_actions();
            let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
            panic!("violated: {property}\n{}", steps.join("\n"));
        }
    }
    checker.assert_properties();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{unique} states, up to {depth} steps deep, in {:?}: {bounds:?}", begun.elapsed());
    assert!(unique >= at_least, "only {unique} states were checked");
}

#[test]
fn one_order_ends_correctly_in_every_reachable_state() {
    check(Bounds { orders: 1, units: &[0, 1], delivery_issues: 2, any_account: true }, 16_000);
}

#[test]
fn two_orders_for_the_same_product_end_correctly_in_every_reachable_state() {
    check(Bounds { orders: 2, units: &[1, 2], delivery_issues: 0, any_account: false }, 33_000);
}
