//! The rules of all services together, without processes: every order of delivery a network could choose.
//!
//! The real deciders of orders and inventory answer each other. Each message may be delivered at any time after it
//! was said, and up to twice. A second delivery is dropped by the inbox of whoever handled it first.

use std::collections::{BTreeMap, BTreeSet};

use contracts::inventory::{InventoryEvent, Restock};
use contracts::order::{CancelOrder, OrderDetails, OrderEvent, OrderItem, PlaceOrder};
use contracts::query::OrderStatus;
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use inventory_service::stock::{ReservationState, Stock, StockMessage};
use order_service::order::{Order, OrderMessage, decide, evolve};
use proptest::prelude::*;
use uuid::Uuid;

/// A message on its way to one service.
#[derive(Debug, Clone)]
enum Flying {
    ToOrders(OrderMessage),
    ToStock(StockMessage),
}

/// What customers and suppliers say.
#[derive(Debug, Clone)]
enum Said {
    Place(u8, Vec<(u8, u8)>),
    Cancel(u8),
    Restock(u8, u8),
}

#[derive(Default)]
struct Network {
    orders: BTreeMap<OrderId, Order>,
    stock: Stock,
    flying: Vec<(usize, Flying)>,
    inbox: BTreeSet<usize>,
    said: usize,
    /// Events of each order, to see that none happens twice.
    history: BTreeMap<OrderId, Vec<&'static str>>,
}

impl Network {
    fn say(&mut self, message: Flying, copies: usize) {
        self.said += 1;
        for _ in 0..copies {
            self.flying.push((self.said, message.clone()));
        }
    }

    /// Delivers one of the messages that are on their way; each answer flies as often as `copies` says.
    fn deliver(&mut self, index: usize, copies: usize) {
        let (id, message) = self.flying.swap_remove(index % self.flying.len());
        if !self.inbox.insert(id) {
            return;
        }
        match message {
            Flying::ToOrders(message) => self.tell_orders(&message, copies),
            Flying::ToStock(message) => self.tell_stock(&message, copies),
        }
    }

    fn tell_orders(&mut self, message: &OrderMessage, copies: usize) {
        let id = message.order_id().clone();
        let order = self.orders.entry(id.clone()).or_default();
        let events = decide(order, message);
        *order = events.iter().fold(std::mem::take(order), evolve);
        for event in events {
            self.history.entry(id.clone()).or_default().push(event.message_type());
            match event {
                OrderEvent::Placed(placed) => self.say(Flying::ToStock(StockMessage::Placed(placed)), copies),
                OrderEvent::Cancelled(cancelled) => {
                    self.say(Flying::ToStock(StockMessage::Cancelled(cancelled)), copies);
                }
                _ => {}
            }
        }
    }

    fn tell_stock(&mut self, message: &StockMessage, copies: usize) {
        for decided in self.stock.decide(message, Uuid::nil()) {
            let answer = match decided.event {
                InventoryEvent::Reserved(event) => OrderMessage::StockReserved(event),
                InventoryEvent::Backordered(event) => OrderMessage::StockBackordered(event),
                InventoryEvent::Refused(event) => OrderMessage::StockRefused(event),
                InventoryEvent::Released(_) | InventoryEvent::Restocked(_) => continue,
            };
            self.say(Flying::ToOrders(answer), copies);
        }
    }
}

fn order_id(n: u8) -> OrderId {
    OrderId::parse(format!("ORDER_{n}")).unwrap()
}

fn product_id(n: u8) -> ProductId {
    ProductId::parse(format!("PRODUCT_{n}")).unwrap()
}

fn message(said: &Said) -> Flying {
    let quantity = |n: u8| Quantity::parse(i64::from(n)).unwrap();
    match said {
        Said::Place(n, lines) => {
            let items = lines.iter().map(|(product, pieces)| OrderItem {
                product_id: product_id(*product),
                quantity: quantity(*pieces),
                unit_price: Amount::parse(1).unwrap(),
            });
            let customer = CustomerId::parse("CUSTOMER_001").unwrap();
            let details = OrderDetails::new(order_id(*n), customer, Currency::EUR, items.collect(), None).unwrap();
            Flying::ToOrders(OrderMessage::Place(PlaceOrder(details)))
        }
        Said::Cancel(n) => {
            Flying::ToOrders(OrderMessage::Cancel(CancelOrder { order_id: order_id(*n), reason: None }))
        }
        Said::Restock(product, pieces) => Flying::ToStock(StockMessage::Restock(Restock {
            product_id: product_id(*product),
            quantity: quantity(*pieces),
        })),
    }
}

fn anything_said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => (0..6_u8, prop::collection::vec((0..3_u8, 1..5_u8), 1..3)).prop_map(|(n, lines)| Said::Place(n, lines)),
        1 => (0..6_u8).prop_map(Said::Cancel),
        2 => (0..3_u8, 1..8_u8).prop_map(|(product, pieces)| Said::Restock(product, pieces)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn stock_is_conserved_and_every_order_ends_right_whatever_the_network_does(
        said in prop::collection::vec(anything_said(), 1..25),
        choices in prop::collection::vec((any::<usize>(), 1..3_usize), 400),
    ) {
        let mut network = Network::default();
        for product in 0..3 {
            network.stock.decide(&StockMessage::Restock(Restock {
                product_id: product_id(product),
                quantity: Quantity::parse(4).unwrap(),
            }), Uuid::nil());
        }
        let mut restocked = [4_u64; 3];
        for (said, (_, copies)) in said.iter().zip(&choices) {
            if let Said::Restock(product, pieces) = said {
                restocked[usize::from(*product)] += u64::from(*pieces);
            }
            network.say(message(said), *copies);
        }
        let mut choices = choices.iter().cycle();
        while !network.flying.is_empty() {
            let (index, copies) = choices.next().unwrap();
            network.deliver(*index, *copies);
        }

        // Stock is conserved, product by product, and held for exactly the orders that are confirmed.
        let mut held = [0_u64; 3];
        for (id, reservation) in &network.stock.reservations {
            let status = network.orders[id].status();
            let expected = match reservation.state {
                ReservationState::Reserved => Some(OrderStatus::Confirmed),
                ReservationState::Waiting { .. } => Some(OrderStatus::AwaitingStock),
                _ => Some(OrderStatus::Cancelled),
            };
            prop_assert_eq!(status, expected, "{}: {:?}", id, reservation.state);
            if reservation.state == ReservationState::Reserved {
                for line in &reservation.lines {
                    let product: usize = line.product_id.as_str().trim_start_matches("PRODUCT_").parse().unwrap();
                    held[product] += line.quantity;
                }
            }
        }
        for (n, total) in restocked.iter().enumerate() {
            let product = &network.stock.products[&product_id(u8::try_from(n).unwrap())];
            prop_assert_eq!(product.available + product.reserved, *total);
            prop_assert_eq!(product.reserved, held[n]);
        }
        // Every order that was placed is final, or waits; nothing happened to it twice.
        for (id, order) in &network.orders {
            if let Some(status) = order.status() {
                prop_assert!(status.is_final() || status == OrderStatus::AwaitingStock, "{} is {:?}", id, status);
            }
            let mut once: Vec<_> = network.history.get(id).cloned().unwrap_or_default();
            once.retain(|kind| !kind.ends_with("-refused.v1"));
            let all = once.len();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), all, "{} repeats itself", id);
        }
    }
}
