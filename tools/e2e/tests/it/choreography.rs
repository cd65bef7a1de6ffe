//! All services' deciders together, without processes: any order of delivery that a network could choose.
//!
//! The real deciders of orders, inventory, and payments exchange messages, and a model of the payment provider
//! handles the requests of payments. Each message may be delivered at any time after its publication and more than
//! once, and second deliveries reach the deciders. Requests to the provider are lost, delayed, or repeated, or their
//! responses are lost; time passes meanwhile.

mod flow;
mod model;
mod network;
mod provider;
mod services;

use std::collections::BTreeSet;
use std::time::Duration;

use contracts::account::{
    AccountChanged, AccountDeleted, AccountDetails, Card, CardToken, Contact, CreditLimit, Email, Expiry, LastFour,
    Line,
};
use contracts::inventory::Restock;
use contracts::order::{CancelOrder, OrderDetails, OrderItem, PlaceOrder};
use contracts::query::OrderStatus;
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use inventory_service::stock::{ReservationState, StockMessage};
use order_service::order::OrderMessage;
use payment_service::payment::PaymentMessage;
use proptest::prelude::*;
use uuid::Uuid;

use network::{Fate, Flying, Network};
use services::Message;

/// The credit limit of each customer, in units.
const LIMIT: i64 = 9;
/// The initial number of units of each product.
const UNITS: u32 = 6;
/// The customers, each with the orders it may place; the last customer has no account.
const CUSTOMERS: [(&str, &[u8]); 3] = [("ANN", &[0, 1, 2, 3]), ("BOB", &[4, 5, 6]), ("EVE", &[7])];

/// The commands of customers and suppliers.
#[derive(Debug, Clone)]
enum Published {
    Place(u8, Vec<(u8, u8)>),
    Cancel(u8),
    Restock(u8, u8),
}

/// The next step of a run.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A message is delivered; the messages it causes are sent in this number of copies, and a request to the
    /// provider has this fate.
    Deliver(usize, usize, Fate),
    /// Time passes, in milliseconds; each request that is due then is sent in this number of copies.
    Wait(u64, usize),
}

fn order_id(n: u8) -> OrderId {
    OrderId::parse(format!("ORDER_{n}")).unwrap()
}

fn product_id(n: u8) -> ProductId {
    ProductId::parse(format!("PRODUCT_{n}")).unwrap()
}

fn customer_id(name: &str) -> CustomerId {
    CustomerId::parse(name).unwrap()
}

fn restock(product: u8, units: u32) -> StockMessage {
    StockMessage::Restock(Restock {
        product_id: product_id(product),
        quantity: Quantity::parse(i64::from(units)).unwrap(),
    })
}

/// Each unit costs 1.
fn message(published: &Published) -> Message {
    match published {
        Published::Place(n, lines) => {
            let items = lines.iter().map(|(product, units)| OrderItem {
                product_id: product_id(*product),
                quantity: Quantity::parse(i64::from(*units)).unwrap(),
                unit_price: Amount::parse(1).unwrap(),
            });
            let (customer, _) = CUSTOMERS.iter().find(|(_, orders)| orders.contains(n)).unwrap();
            let (customer, currency) = (customer_id(customer), Currency::EUR);
            let details = OrderDetails::new(order_id(*n), customer, currency, items.collect(), None).unwrap();
            Message::Orders(OrderMessage::Place(PlaceOrder(details)))
        }
        Published::Cancel(n) => {
            Message::Orders(OrderMessage::Cancel(CancelOrder { order_id: order_id(*n), reason: None }))
        }
        Published::Restock(product, units) => Message::Stock(restock(*product, u32::from(*units))),
    }
}

fn account(customer: &str, version: i64, limit: i64) -> Message {
    let details = AccountDetails {
        name: Line::parse(customer).unwrap(),
        addresses: vec![],
        contact: Contact { email: Email::parse("a@example.org").unwrap(), phone: None },
        card: Some(Card {
            token: CardToken::parse(format!("tok_{version}")).unwrap(),
            brand: Line::parse("VISA").unwrap(),
            last_four: LastFour::parse("1111").unwrap(),
            expiry: Expiry::parse("2999-12").unwrap(),
        }),
        credit_limit: CreditLimit { amount: Amount::parse(limit).unwrap(), currency: Currency::EUR },
    };
    let changed = AccountChanged { customer_id: customer_id(customer), version, details };
    Message::Payments(PaymentMessage::AccountChanged(changed))
}

/// Ann changes her card, Bob may delete his account, and Eve has none.
fn accounts(bob_leaves: bool) -> Vec<Message> {
    let mut published = vec![account("ANN", 1, LIMIT), account("ANN", 2, LIMIT), account("BOB", 1, LIMIT)];
    if bob_leaves {
        let deleted = AccountDeleted { customer_id: customer_id("BOB"), version: 2 };
        published.push(Message::Payments(PaymentMessage::AccountDeleted(deleted)));
    }
    published
}

fn anything_published() -> impl Strategy<Value = Published> {
    prop_oneof![
        6 => (0..8_u8, prop::collection::vec((0..3_u8, 1..5_u8), 1..3)).prop_map(|(n, lines)| Published::Place(n, lines)),
        2 => (0..8_u8).prop_map(Published::Cancel),
        2 => (0..3_u8, 1..8_u8).prop_map(|(product, units)| Published::Restock(product, units)),
    ]
}

fn anything_next() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        4 => Just(Fate::Completed),
        1 => Just(Fate::ResponseLost),
        1 => Just(Fate::Late),
        1 => Just(Fate::Lost),
    ];
    let time =
        prop_oneof![6 => Just(1_u64), 2 => Just(300), 2 => Just(11_000), 1 => Just(31_000), 1 => Just(61_000)];
    prop_oneof![
        4 => (any::<usize>(), 1..4_usize, fate).prop_map(|(index, copies, fate)| Step::Deliver(index, copies, fate)),
        1 => (time, 1..3_usize).prop_map(|(time, copies)| Step::Wait(time, copies)),
    ]
}

/// The invariants at every step: no customer is charged above the limit, and no order twice.
fn holds(network: &Network) -> Result<(), TestCaseError> {
    for (customer, _) in CUSTOMERS {
        let customer = customer_id(customer);
        let exposure = network.aggregates.exposures.get(&(customer.clone(), "EUR")).copied().unwrap_or_default();
        prop_assert!(network.charged(&customer) <= exposure, "charged and not exposed: {}", customer);
        prop_assert!(exposure <= LIMIT, "{} is above the limit", customer);
    }
    for (order, charges) in &network.provider.charges {
        prop_assert!(charges.captures <= 1 && charges.refunds <= charges.captures, "{}: {:?}", order, charges);
    }
    Ok(())
}

/// Delivers all messages with a response to every request, until all waits end.
fn settle(network: &mut Network, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut indices = steps.iter().cycle().map(|step| match step {
        Step::Deliver(index, ..) => *index,
        Step::Wait(..) => 0,
    });
    for _ in 0..5000 {
        if !network.flying.is_empty() {
            // The provider receives requests while other messages are in flight.
            network.wait(Duration::from_millis(1), 1);
            network.deliver(indices.next().unwrap_or_default(), 1, Fate::Completed);
        } else if network.payments_rest() {
            return Ok(());
        } else {
            network.wait(Duration::from_secs(61), 1);
        }
        holds(network)?;
    }
    Err(TestCaseError::fail("it does not settle"))
}

/// Per product, stock is conserved and reserved for exactly the confirmed orders.
fn stock_reconciles(network: &Network, restocked: &[u64; 3]) -> Result<(), TestCaseError> {
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
    Ok(())
}

/// Every order is confirmed and charged, or not charged and cancelled or awaiting stock. No event occurs twice.
fn orders_ended_right(network: &Network) -> Result<(), TestCaseError> {
    for (id, order) in &network.orders {
        let history = network.history.get(id).cloned().unwrap_or_default();
        let happened = |kind: &str| history.contains(&kind);
        let charged = network.provider.charges.get(id).is_some_and(provider::Recorded::is_charged);
        // A confirmation excludes any undoing event.
        if happened("order.confirmed.v1") {
            prop_assert_eq!(order.status(), Some(OrderStatus::Confirmed), "{} was confirmed", id);
            for undone in ["order.cancelled.v1", "inventory.released.v1", "payment.refunded.v1"] {
                prop_assert!(!happened(undone), "{} is confirmed, but has {}", id, undone);
            }
        }
        match order.status() {
            Some(OrderStatus::Confirmed) => prop_assert!(charged, "{} is confirmed, but not charged", id),
            Some(OrderStatus::Cancelled) => prop_assert!(!charged, "{} is cancelled, but still charged", id),
            Some(OrderStatus::AwaitingStock) | None => prop_assert!(!charged, "{} is charged", id),
            Some(open) => prop_assert!(false, "{} is still {:?}", id, open),
        }
        prop_assert!(!(happened("payment.captured.v1") && happened("payment.declined.v1")), "{:?}", history);
        let mut once = history;
        once.retain(|kind| !kind.ends_with("-refused.v1"));
        let all = once.len();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), all, "{} has a duplicate event", id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn money_and_stock_are_conserved_and_every_order_ends_correctly_on_any_network(
        published in prop::collection::vec(anything_published(), 1..25),
        bob_leaves in any::<bool>(),
        refused_cards in prop::collection::btree_set(0..8_u8, 0..3),
        steps in prop::collection::vec(anything_next(), 1..300),
    ) {
        let mut network = Network::default();
        network.provider.declines = refused_cards.into_iter().map(order_id).collect::<BTreeSet<_>>();
        let mut restocked = [u64::from(UNITS); 3];
        for product in 0..3 {
            network.stock.decide(&restock(product, UNITS), Uuid::nil());
        }
        for published in &published {
            if let Published::Restock(product, units) = published {
                restocked[usize::from(*product)] += u64::from(*units);
            }
            network.publish(Flying::To(message(published)), 2);
        }
        for published in accounts(bob_leaves) {
            network.publish(Flying::To(published), 2);
        }
        for step in &steps {
            match step {
                Step::Deliver(..) if network.flying.is_empty() => {}
                Step::Deliver(index, copies, fate) => network.deliver(*index, *copies, *fate),
                Step::Wait(milliseconds, copies) => network.wait(Duration::from_millis(*milliseconds), *copies),
            }
            holds(&network)?;
        }
        settle(&mut network, &steps)?;
        stock_reconciles(&network, &restocked)?;
        orders_ended_right(&network)?;
    }
}
