//! The orders of a run: any number of different ones, each identified by its number.

use async_nats::HeaderMap;
use bytes::Bytes;
use choreography::Publish as _;
use choreography::envelope;
use contracts::order::{OrderCommand, OrderDetails, OrderItem, PlaceOrder};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use time::OffsetDateTime;

/// The price of a unit, in cents.
const PRICE: i64 = 1000;

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The NATS subject.
    pub subject: String,
    /// All headers, `Nats-Msg-Id` included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The properties of the orders of a run.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    /// Distinguishes the ids of one run from those of another.
    pub run: u32,
    /// The number of customers, who order in turn.
    pub customers: u64,
    /// The number of products, which are ordered in turn.
    pub products: u64,
    /// The number of lines per order.
    pub lines: u64,
}

impl Orders {
    /// Returns the id of an order: a time-ordered UUID, as the gateway makes them.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        message_id(self.run, 0, number)
    }

    /// Returns the number of an order of this run; `None` for any other id.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<u64> {
        let (run, number) = read_id(id)?;
        (run == self.run).then_some(number)
    }

    /// Returns the number of the order that a message is about, by its subject.
    #[must_use]
    pub fn number_of(&self, subject: &str) -> Option<u64> {
        self.number(subject.rsplit('.').next()?)
    }

    /// Returns the details of an order.
    ///
    /// # Errors
    ///
    /// If the order is not valid: too many lines.
    pub fn details(&self, number: u64) -> anyhow::Result<OrderDetails> {
        let item = |line: u64| -> anyhow::Result<OrderItem> {
            let product = (number * self.lines + line) % self.products;
            Ok(OrderItem {
                product_id: ProductId::parse(product_id(product))?,
                quantity: Quantity::parse(1)?,
                unit_price: Amount::parse(PRICE)?,
            })
        };
        Ok(OrderDetails::new(
            OrderId::parse(self.id(number))?,
            CustomerId::parse(customer_id(number % self.customers))?,
            Currency::EUR,
            (0..self.lines).map(item).collect::<anyhow::Result<_>>()?,
            None,
        )?)
    }

    /// Returns the command that places an order, as the gateway publishes it. Copies have the same id and different
    /// values of `Nats-Msg-Id`, so that the stream does not drop them as duplicates.
    ///
    /// # Errors
    ///
    /// As [`Orders::details`].
    pub fn command(&self, number: u64, copy: u16) -> anyhow::Result<Outbound> {
        let command = OrderCommand::from(PlaceOrder(self.details(number)?));
        let id = message_id(self.run, 1, number);
        let deduplicated = if copy == 0 { id.clone() } else { format!("{id}-{copy}") };
        let mut headers = HeaderMap::new();
        headers.insert(envelope::SPEC_VERSION, "1.0");
        headers.insert(envelope::TYPE, command.message_type());
        headers.insert(envelope::SOURCE, "/api-gateway");
        headers.insert(envelope::SUBJECT, command.key());
        headers.insert(envelope::ID, id.as_str());
        headers.insert(envelope::TIME, envelope::rfc3339(OffsetDateTime::now_utc()));
        headers.insert(envelope::CORRELATION_ID, id.as_str());
        headers.insert(envelope::NATS_MESSAGE_ID, deduplicated);
        Ok(Outbound { subject: command.subject(), headers, body: serde_json::to_vec(&command)?.into() })
    }
}

/// Returns the id of a product.
#[must_use]
pub fn product_id(number: u64) -> String {
    format!("PRODUCT_{number:06}")
}

/// Returns the id of a customer.
#[must_use]
pub fn customer_id(number: u64) -> String {
    format!("CUSTOMER_{number:06}")
}

/// Returns a UUID that encodes a run, a kind of message, and the number of an order. As in version 7, its first 48 bits
/// increase from order to order, and all messages of an order share them.
#[must_use]
pub fn message_id(run: u32, kind: u16, number: u64) -> String {
    format!("{:08x}-{:04x}-7000-8000-{kind:04x}{run:08x}", number >> 16, number & 0xffff)
}

/// Returns the run and the order number of a UUID of [`message_id`].
#[must_use]
pub fn read_id(id: &str) -> Option<(u32, u64)> {
    let (high, low, run) = (id.get(..8)?, id.get(9..13)?, id.get(28..36)?);
    let number = (u64::from_str_radix(high, 16).ok()? << 16) | u64::from_str_radix(low, 16).ok()?;
    Some((u32::from_str_radix(run, 16).ok()?, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: Orders = Orders { run: 7, customers: 10, products: 100, lines: 3 };

    #[test]
    fn an_id_is_a_uuid_that_contains_its_number() {
        let id = ORDERS.id(123_456);
        assert!(uuid::Uuid::parse_str(&id).is_ok());
        assert_eq!(ORDERS.number(&id), Some(123_456));
        assert_eq!(Orders { run: 8, ..ORDERS }.number(&id), None);
        assert_eq!(ORDERS.number("ORDER_001"), None);
    }

    #[test]
    fn later_orders_have_larger_ids() {
        assert!(ORDERS.id(255) < ORDERS.id(256));
        assert!(ORDERS.id(65_535) < ORDERS.id(65_536));
    }

    #[test]
    fn orders_reach_every_product_and_every_customer() {
        let details: Vec<_> = (0..1000).map(|number| ORDERS.details(number).unwrap()).collect();
        let customers: std::collections::BTreeSet<_> = details.iter().map(|d| d.customer_id.clone()).collect();
        let products: std::collections::BTreeSet<_> =
            details.iter().flat_map(|d| &d.items).map(|item| item.product_id.clone()).collect();
        assert_eq!((customers.len(), products.len()), (10, 100));
    }

    #[test]
    fn copies_of_a_command_differ_only_for_the_stream() {
        let (first, copy) = (ORDERS.command(5, 0).unwrap(), ORDERS.command(5, 3).unwrap());
        assert_eq!(first.headers.get(envelope::ID), copy.headers.get(envelope::ID));
        assert_ne!(first.headers.get(envelope::NATS_MESSAGE_ID), copy.headers.get(envelope::NATS_MESSAGE_ID));
        assert_eq!(first.body, copy.body);
    }
}
