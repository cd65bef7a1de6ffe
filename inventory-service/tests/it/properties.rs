//! Invariants for every sequence of messages.

use std::collections::{BTreeMap, BTreeSet};

use choreography::Publish as _;
use contracts::inventory::{InventoryEvent, StockLine};
use contracts::{OrderId, ProductId};
use inventory_service::stock::{ReservationState, Stock, StockMessage, lines_of};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

use crate::given::{available, cancelled, flow, key, placed, product_id, restock};

/// Few enough that orders compete.
const PRODUCTS: usize = 4;

pub(crate) fn config(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

/// A stock and the messages to apply.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) available: BTreeMap<ProductId, u64>,
    pub(crate) messages: Vec<StockMessage>,
}

impl Story {
    pub(crate) fn beginning(&self) -> Stock {
        available(&self.available.iter().map(|(id, available)| (id.as_str(), *available)).collect::<Vec<_>>())
    }
}

fn product_name(index: usize) -> String {
    format!("P{index}")
}

/// Orders with their lines; the same id always has the same lines.
fn orders(number: usize) -> impl Strategy<Value = Vec<StockMessage>> {
    let lines = btree_map(0..PRODUCTS, 1..=6_u64, 1..=3);
    vec(lines, number).prop_map(|orders| {
        let named = orders.iter().enumerate().map(|(index, lines)| {
            let names: Vec<_> = lines.iter().map(|(p, quantity)| (product_name(*p), *quantity)).collect();
            let lines: Vec<_> = names.iter().map(|(name, quantity)| (name.as_str(), *quantity)).collect();
            placed(&format!("O{index}"), &lines)
        });
        named.collect()
    })
}

/// Placements, cancellations, and restocks in any order, with repetitions. Some products do not exist at first.
pub(crate) fn stories(number: usize, length: usize) -> impl Strategy<Value = Story> {
    let step = prop_oneof![
        5 => (0..number).prop_map(|order| (0, order, 0)),
        2 => (0..number).prop_map(|order| (1, order, 0)),
        3 => (0..PRODUCTS, 1..12_u64).prop_map(|(product, quantity)| (2, product, quantity)),
    ];
    let available = vec(prop_oneof![1 => Just(None), 9 => (0..10_u64).prop_map(Some)], PRODUCTS);
    (available, orders(number), vec(step, 1..length)).prop_map(|(available, orders, steps)| {
        let available = available.into_iter().enumerate();
        Story {
            available: available
                .filter_map(|(p, available)| Some((product_id(&product_name(p)), available?)))
                .collect(),
            messages: steps
                .into_iter()
                .map(|(kind, index, quantity)| match kind {
                    0 => orders[index].clone(),
                    1 => cancelled(&format!("O{index}")),
                    _ => restock(&product_name(index), quantity),
                })
                .collect(),
        }
    })
}

fn lines_in(stock: &Stock, state: impl Fn(ReservationState) -> bool) -> BTreeMap<ProductId, u64> {
    let mut sums = BTreeMap::new();
    for reservation in stock.reservations.values().filter(|reservation| state(reservation.state)) {
        for line in &reservation.lines {
            *sums.entry(line.product_id.clone()).or_default() += line.quantity;
        }
    }
    sums
}

/// Returns the units of each product, and checks that the counts agree with the reservations.
pub(crate) fn count(stock: &Stock) -> BTreeMap<ProductId, u64> {
    let held = lines_in(stock, |state| state == ReservationState::Reserved);
    let backordered = lines_in(stock, |state| matches!(state, ReservationState::Waiting { .. }));
    let sum = |sums: &BTreeMap<ProductId, u64>, id: &ProductId| sums.get(id).copied().unwrap_or(0);
    for (id, product) in &stock.products {
        assert_eq!(product.reserved, sum(&held, id), "held of {id}");
        assert_eq!(product.backordered, sum(&backordered, id), "backordered of {id}");
        let queued = stock.queues.get(id).map_or(0, |queue| queue.values().sum());
        assert_eq!(product.backordered, queued, "queued for {id}");
    }
    stock.products.iter().map(|(id, product)| (id.clone(), product.available + product.reserved)).collect()
}

/// A simple reference implementation of the order of service: it walks all waiting orders at every step.
#[derive(Default)]
struct Plain {
    available: BTreeMap<ProductId, u64>,
    waiting: Vec<(OrderId, Vec<StockLine>)>,
    holds: BTreeMap<OrderId, Vec<StockLine>>,
    known: BTreeSet<OrderId>,
}

impl Plain {
    /// Tries all waiting orders in their order, and returns the served ones.
    fn walk(&mut self) -> Vec<OrderId> {
        let mut served = Vec::new();
        let mut claims = BTreeMap::<ProductId, u64>::new();
        for (order, lines) in std::mem::take(&mut self.waiting) {
            let claimed = |id: &ProductId| claims.get(id).copied().unwrap_or(0);
            let fits =
                |line: &StockLine| self.available[&line.product_id] >= claimed(&line.product_id) + line.quantity;
            if lines.iter().all(fits) {
                for line in &lines {
                    *self.available.get_mut(&line.product_id).unwrap() -= line.quantity;
                }
                self.holds.insert(order.clone(), lines);
                served.push(order);
            } else {
                for line in &lines {
                    *claims.entry(line.product_id.clone()).or_default() += line.quantity;
                }
                self.waiting.push((order, lines));
            }
        }
        served
    }

    fn apply(&mut self, message: &StockMessage) -> Vec<OrderId> {
        match message {
            StockMessage::Placed(order) => {
                let lines = lines_of(order);
                if self.known.insert(order.order_id.clone())
                    && lines.iter().all(|line| self.available.contains_key(&line.product_id))
                {
                    self.waiting.push((order.order_id.clone(), lines));
                }
            }
            StockMessage::Cancelled(order) => {
                self.known.insert(order.order_id.clone());
                self.waiting.retain(|(id, _)| *id != order.order_id);
                for line in self.holds.remove(&order.order_id).unwrap_or_default() {
                    *self.available.get_mut(&line.product_id).unwrap() += line.quantity;
                }
            }
            StockMessage::Restock(restock) => {
                *self.available.entry(restock.product_id.clone()).or_default() += u64::from(restock.quantity.get());
            }
        }
        self.walk()
    }
}

/// The lines of waiting orders that are in reach, found by walking all queues.
fn in_reach(stock: &Stock) -> BTreeSet<(ProductId, OrderId)> {
    let mut lines = BTreeSet::new();
    for (id, queue) in &stock.queues {
        let mut promised = 0;
        for (place, quantity) in queue {
            promised += quantity;
            if promised <= stock.products[id].available {
                lines.insert((id.clone(), place.order_id.clone()));
            }
        }
    }
    lines
}

/// The orders that wait although all of their lines are in reach.
pub(crate) fn unserved(stock: &Stock) -> Vec<OrderId> {
    let reached = in_reach(stock);
    let orders = stock.reservations.iter().filter(|(id, reservation)| {
        let lines = &reservation.lines;
        matches!(reservation.state, ReservationState::Waiting { .. })
            && lines.iter().all(|line| reached.contains(&(line.product_id.clone(), (*id).clone())))
    });
    orders.map(|(id, _)| id.clone()).collect()
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn no_unit_is_lost_or_created(story in stories(12, 60)) {
        let mut stock = story.beginning();
        let mut expected = story.available.clone();
        for message in &story.messages {
            if let StockMessage::Restock(restock) = message {
                *expected.entry(restock.product_id.clone()).or_default() += u64::from(restock.quantity.get());
            }
            stock.decide(message, flow(key(message)));
            prop_assert_eq!(count(&stock), expected.clone(), "after {:?}", message);
        }
    }

    #[test]
    fn an_order_is_served_as_soon_as_earlier_orders_leave_enough_units(story in stories(12, 60)) {
        let mut stock = story.beginning();
        let mut plain = Plain { available: story.available.clone(), ..Plain::default() };
        for message in &story.messages {
            let events = stock.decide(message, flow(key(message)));
            let served: Vec<_> = events.iter().filter_map(|decided| match &decided.event {
                InventoryEvent::Reserved(reserved) => Some(reserved.order_id.clone()),
                _ => None,
            }).collect();
            let mut expected = plain.apply(message);
            // The events of two orders without a common product may have either order.
            let mut unordered = served.clone();
            unordered.sort();
            expected.sort();
            prop_assert_eq!(unordered, expected, "after {:?}", message);
            for (id, product) in &stock.products {
                prop_assert_eq!(product.available, plain.available[id], "of {} after {:?}", id, message);
            }
        }
    }

    #[test]
    fn a_line_in_reach_stays_in_reach(story in stories(12, 60)) {
        let mut stock = story.beginning();
        for message in &story.messages {
            let before = in_reach(&stock);
            stock.decide(message, flow(key(message)));
            let after = in_reach(&stock);
            for (product, order) in before.difference(&after) {
                let state = stock.reservations[order].state;
                let waits = matches!(state, ReservationState::Waiting { .. });
                prop_assert!(!waits, "{} lost its {} to {:?}", order, product, message);
            }
        }
    }

    #[test]
    fn after_enough_restocks_no_order_waits(story in stories(12, 60)) {
        let mut stock = story.beginning();
        for message in &story.messages {
            stock.decide(message, flow(key(message)));
        }
        for index in 0..PRODUCTS {
            stock.decide(&restock(&product_name(index), 1000), flow("restock"));
        }
        prop_assert!(stock.queues.is_empty(), "{:?}", stock.queues);
        prop_assert!(stock.products.values().all(|product| product.backordered == 0));
    }

    #[test]
    fn with_ample_stock_the_order_of_messages_does_not_matter(
        orders in orders(12),
        steps in vec((any::<Index>(), any::<bool>()), 1..40),
        moves in vec((any::<Index>(), any::<Index>()), 40),
    ) {
        let ample: Vec<_> = (0..PRODUCTS).map(|index| (product_name(index), 1000)).collect();
        let ample: Vec<_> = ample.iter().map(|(name, available)| (name.as_str(), *available)).collect();
        let mut messages: Vec<_> = steps.iter().map(|(order, cancel)| {
            let order = order.get(&orders);
            if *cancel { cancelled(key(order)) } else { order.clone() }
        }).collect();
        let end = |messages: &[StockMessage]| {
            let mut stock = available(&ample);
            for message in messages {
                stock.decide(message, flow(key(message)));
            }
            let held = stock.reservations.iter();
            let held = held.filter(|(_, reservation)| reservation.state == ReservationState::Reserved);
            let held = held.map(|(id, reservation)| (id.clone(), reservation.lines.clone())).collect::<Vec<_>>();
            (stock.products, held)
        };
        let expected = end(&messages);
        for (from, to) in &moves {
            let (from, to) = (from.index(messages.len()), to.index(messages.len()));
            messages.swap(from, to);
        }
        let again = messages[..messages.len() / 2].to_vec();
        messages.extend(again);
        prop_assert_eq!(end(&messages), expected);
    }

    #[test]
    fn a_decision_for_an_order_is_never_made_again(story in stories(12, 40)) {
        let mut stock = story.beginning();
        for message in &story.messages {
            stock.decide(message, flow(key(message)));
            if !matches!(message, StockMessage::Restock(_)) {
                let before = stock.clone();
                prop_assert_eq!(stock.decide(message, flow("again")), vec![]);
                prop_assert_eq!(&stock, &before);
            }
        }
    }

    #[test]
    fn versions_count_the_events_of_an_order_or_a_product_from_1(story in stories(12, 60)) {
        let mut stock = story.beginning();
        let mut last = BTreeMap::<String, i64>::new();
        for message in &story.messages {
            for decided in stock.decide(message, flow(key(message))) {
                let version = last.entry(decided.event.key().to_owned()).or_default();
                *version += 1;
                prop_assert_eq!(decided.version, *version, "{:?}", decided.event);
            }
        }
    }
}
