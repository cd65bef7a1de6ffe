//! The plan of the load: an endless sequence of actions that derives from the seed.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};
use serde_json::{Value, json};

use crate::random::{Purpose, random};

/// The number of customers with accounts.
pub const CUSTOMERS: u64 = 16;
/// The number of products.
pub const PRODUCTS: u64 = 6;
/// The currency of almost all orders and limits.
const CURRENCY: &str = "EUR";

/// An action of a customer.
#[derive(Debug, Clone)]
pub enum Action {
    /// Places an order.
    Place(Place),
    /// Cancels an order.
    Cancel {
        /// The id of the order.
        order_id: String,
        /// The body of the request.
        body: Value,
        /// The idempotency key.
        key: Option<String>,
    },
    /// Restocks a product.
    Restock(Restock),
    /// Opens an account.
    Open {
        /// The account.
        account: Value,
        /// The idempotency key.
        key: Option<String>,
    },
    /// Changes an account: its card and its limit.
    Change {
        /// The id of the customer.
        customer_id: String,
        /// The new account.
        account: Value,
        /// The idempotency key.
        key: Option<String>,
    },
    /// Deletes an account and opens it again after a moment.
    Close {
        /// The id of the customer.
        customer_id: String,
        /// The account when it is opened again.
        account: Value,
        /// The idempotency key of the deletion.
        key: Option<String>,
    },
}

/// The placing of an order.
#[derive(Debug, Clone)]
pub struct Place {
    /// The order.
    pub body: Value,
    /// The idempotency key.
    pub key: Option<String>,
    /// How long the gateway shall wait for the outcome, in seconds.
    pub wait: Option<u64>,
    /// The pauses after which the request is repeated.
    pub again: Vec<Duration>,
    /// Another body that is sent afterwards with the same id or key.
    pub other_content: Option<Value>,
}

/// A restock of a product.
#[derive(Debug, Clone)]
pub struct Restock {
    /// The id of the product.
    pub product_id: String,
    /// The number of units.
    pub quantity: u64,
    /// The idempotency key.
    pub key: Option<String>,
    /// Whether the request is repeated.
    pub again: bool,
}

/// A planned action.
#[derive(Debug, Clone)]
pub struct Planned {
    /// When it begins, since the start of the load.
    pub at: Duration,
    /// The action.
    pub action: Action,
    /// How long the customer retries without a final response.
    pub timeout: Duration,
}

/// The endless plan of actions.
#[derive(Debug)]
pub struct Plan {
    random: ChaCha8Rng,
    rate: f64,
    at: Duration,
    orders: u64,
    keys: u64,
}

impl Plan {
    /// Creates the plan of a seed, with this number of actions per second.
    #[must_use]
    pub fn new(seed: u64, rate: f64) -> Self {
        Self { random: random(seed, Purpose::Load), rate, at: Duration::ZERO, orders: 0, keys: 0 }
    }

    /// Returns the actions before any fault: accounts are opened, products are restocked.
    pub fn beginning(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for n in 0..CUSTOMERS {
            let account = self.account(&customer(n));
            actions.push(Action::Open { account, key: None });
        }
        for n in 0..PRODUCTS {
            let key = Some(self.key());
            actions.push(Action::Restock(Restock { product_id: product(n), quantity: 60, key, again: false }));
        }
        actions
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        format!("key-{:06}-{:08x}", self.keys, self.random.next_u32())
    }

    fn sometimes_key(&mut self, share: f64) -> Option<String> {
        self.random.random_bool(share).then(|| self.key())
    }

    fn customer(&mut self) -> String {
        customer(self.random.random_range(0..CUSTOMERS))
    }

    fn account(&mut self, customer_id: &str) -> Value {
        // Mostly valid cards; the provider fails, delays, or declines the others.
        let token = match self.random.random_range(0..100) {
            0..4 => "tok_slow",
            4..8 => "tok_drop",
            8..11 => "tok_decline",
            11..13 => "tok_fail",
            _ => "tok_visa",
        };
        let card = json!({"token": token, "brand": "Visa", "lastFour": "4242", "expiry": "2099-12"});
        // Close to the customer's expected total: some orders fit into the limit, some do not.
        let spent = 20_000 + self.orders / CUSTOMERS * 3_000;
        let limit = self.random.random_range(spent / 2..spent * 6);
        let currency = if self.random.random_bool(0.03) { "USD" } else { CURRENCY };
        json!({
            "customerId": customer_id, "name": format!("Ada Example {}", self.random.random_range(0..1000)),
            "addresses": [], "contact": {"email": format!("{}@example.org", customer_id.to_lowercase())},
            "card": if self.random.random_bool(0.03) { Value::Null } else { card },
            "creditLimit": {"amount": limit, "currency": currency}
        })
    }

    fn order(&mut self, order_id: Option<&str>) -> Value {
        let lines = self.random.random_range(1..=3);
        let items: Vec<Value> = (0..lines)
            .map(|_| {
                let unknown = self.random.random_bool(0.005);
                let number = if unknown { 99 } else { self.random.random_range(0..PRODUCTS) };
                json!({
                    "productId": product(number), "quantity": self.random.random_range(1..=4),
                    "unitPrice": self.random.random_range(10..=1500)
                })
            })
            .collect();
        let customer_id = if self.random.random_bool(0.005) { "NOBODY".to_owned() } else { self.customer() };
        let mut order = json!({"customerId": customer_id, "currency": CURRENCY, "items": items});
        if let Some(order_id) = order_id {
            order["orderId"] = order_id.into();
        }
        order
    }

    fn place(&mut self) -> Place {
        self.orders += 1;
        let key = self.sometimes_key(0.5);
        // Without an id and a key, a retry would be another order.
        let named = key.is_none() || self.random.random_bool(0.8);
        let body = self.order(named.then(|| order_id(self.orders)).as_deref());
        let repeats = if self.random.random_bool(0.15) { self.random.random_range(1..=3) } else { 0 };
        let again = (0..repeats).map(|_| Duration::from_millis(self.random.random_range(0..20_000))).collect();
        let wait = self.random.random_bool(0.1).then(|| self.random.random_range(1..=10));
        let mut other_content = None;
        if self.random.random_bool(0.03) {
            let mut other = body.clone();
            other["items"][0]["quantity"] = json!(7);
            other_content = Some(other);
        }
        Place { body, key, wait, again, other_content }
    }

    fn cancel(&mut self) -> Action {
        // Mostly one of the last orders; sometimes one that is not placed yet.
        let back = self.random.random_range(0..30);
        let number = (self.orders + 2).saturating_sub(back).max(1);
        let body = if self.random.random_bool(0.5) { json!({"reason": "changed my mind"}) } else { json!({}) };
        Action::Cancel { order_id: order_id(number), body, key: self.sometimes_key(0.5) }
    }

    fn restock(&mut self) -> Action {
        let product_id = product(self.random.random_range(0..PRODUCTS));
        let key = self.sometimes_key(0.9);
        let again = key.is_some() && self.random.random_bool(0.3);
        Action::Restock(Restock { product_id, quantity: self.random.random_range(10..=45), key, again })
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        // Customers arrive independently: the times between them are exponentially distributed.
        let share: f64 = self.random.random_range(f64::EPSILON..1.0);
        self.at += Duration::from_secs_f64(-share.ln() / self.rate);
        let action = match self.random.random_range(0..1000) {
            0..760 => Action::Place(self.place()),
            760..850 => self.cancel(),
            850..920 => self.restock(),
            920..985 => {
                let customer_id = self.customer();
                let account = self.account(&customer_id);
                Action::Change { customer_id, account, key: self.sometimes_key(0.6) }
            }
            _ => {
                let customer_id = self.customer();
                let account = self.account(&customer_id);
                Action::Close { customer_id, account, key: self.sometimes_key(0.6) }
            }
        };
        let timeout = if self.random.random_bool(0.2) { 0 } else { 60 };
        Some(Planned { at: self.at, action, timeout: Duration::from_secs(timeout) })
    }
}

/// Returns the id of a customer.
#[must_use]
pub fn customer(number: u64) -> String {
    format!("CUSTOMER_{number:02}")
}

fn product(number: u64) -> String {
    format!("PRODUCT_{number:02}")
}

fn order_id(number: u64) -> String {
    format!("ORDER_{number:06}")
}
