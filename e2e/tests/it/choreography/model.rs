//! A small store under a model checker: not many orders of delivery at random, but every one there is.
//!
//! One order whose provider is unreliable, and two orders of one customer whose provider is not, each for a piece of
//! one product; the first may be cancelled, at any moment. What a service says stays in a stream: it arrives at any later
//! time, and again at any time after that, as if the inbox had forgotten it. So a redelivery, an ack that was lost, and
//! a publish that came late are deliveries like others, and a service that is killed between two transactions has lost
//! nothing that this does not show. What a kill does drop is what payment-service holds in memory: the answers of the
//! provider. That the provider books a key once is its own promise, and no property here.
//!
//! Time is not counted. Whatever has a next attempt may begin it; a payment that has been due for so long that the
//! deadlines for it have passed has got there by a step of its own, and a stock deadline may come as soon as it is
//! set.

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

/// What each order costs, and what the customer may be charged at a time: one order is within the limit, two are not.
const PRICE: i64 = 1;

/// What may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A message that was said arrives, for the first time or once more.
    Deliver(Key),
    /// A worker of payment-service claims an order's payment, and asks the provider.
    Claim(u8),
    /// What was asked arrives at the provider, whether somebody waits for the answer or not.
    Arrive(u8, Call),
    /// It arrives, and the worker has the answer of that attempt in hand.
    Answer(u8, i64),
    /// The worker waits no longer for the answer.
    GiveUp(u8, i64),
    /// The worker records what it has in hand.
    Record(u8, i64),
    /// A worker looks again at a payment without an account.
    LookAgain(u8),
    /// The deadlines of a payment pass.
    Overdue(u8),
    /// payment-service is killed.
    Crash,
}

/// How large the shop is that is checked.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// How many orders there are; the first one may be cancelled.
    orders: u8,
    /// How many units there are. With fewer than orders, somebody waits.
    units: &'static [u32],
    /// How often a worker gives up, loses its lease, or is killed.
    delivery_issues: u8,
    /// Whether the account may come late, and the bank may refuse a card.
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
            Property::always("no more is reserved than there is", |_, shop: &Shop| stock_reconciles(shop)),
            Property::always("nobody is charged above the limit", |_, shop: &Shop| is_within_limit(shop)),
            Property::always("what is confirmed has its stock and its money", |_, shop: &Shop| {
                ids(shop, OrderStatus::Confirmed).all(|n| shop.holds_stock(n) && shop.is_charged(n))
            }),
            Property::always("what is cancelled keeps neither stock nor money", |_, shop: &Shop| {
                !shop.rests()
                    || ids(shop, OrderStatus::Cancelled).all(|n| !shop.holds_stock(n) && !shop.is_charged(n))
            }),
            Property::always("a payment is captured or declined", |_, shop: &Shop| {
                (0..2).all(|n| !(shop.was_published(("captured", n)) && shop.was_published(("declined", n))))
            }),
            Property::always("nothing rests before its order has ended", |model: &Self, shop: &Shop| {
                !shop.rests() || model.has_ended(shop)
            }),
            // Sound here, though it is not in general: no path has a cycle, and what has ended stays so.
            Property::eventually("every order ends", |model: &Self, shop: &Shop| model.has_ended(shop)),
            Property::sometimes("an order is confirmed", |_, shop: &Shop| {
                ids(shop, OrderStatus::Confirmed).count() > 0
            }),
            Property::sometimes("money is given back", |_, shop: &Shop| {
                shop.provider.booked.values().any(|booked| booked.refunds > 0)
            }),
            Property::sometimes("stock comes back", |_, shop: &Shop| {
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

/// What a state is to the checker: two that differ in nothing that decides anything are one.
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
        shop.provider.booked.values().filter(|booked| booked.is_charged()).map(|booked| booked.amount).sum();
    charged <= exposed && exposed <= PRICE
}

/// Checks all there is, and says how much that was; fewer states than `at_least` mean that the model shrank.
#[allow(clippy::print_stderr, reason = "the size of what was checked belongs into the test's output")]
fn check(bounds: Bounds, at_least: usize) {
    let begun = Instant::now();
    let checker = bounds.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation.discovery_is_failure() {
            let steps = path.into_actions();
            let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
            panic!("not so: {property}\n{}", steps.join("\n"));
        }
    }
    checker.assert_properties();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{unique} states, up to {depth} steps deep, in {:?}: {bounds:?}", begun.elapsed());
    assert!(unique >= at_least, "only {unique} states were checked");
}

#[test]
fn one_order_ends_right_in_every_state_that_can_be_reached() {
    check(Bounds { orders: 1, units: &[0, 1], delivery_issues: 2, any_account: true }, 16_000);
}

#[test]
fn two_orders_that_want_the_same_end_right_in_every_state_that_can_be_reached() {
    check(Bounds { orders: 2, units: &[1, 2], delivery_issues: 0, any_account: false }, 33_000);
}
