//! given / when / then for stock.

use contracts::inventory::{InventoryEvent, Restock, StockLine};
use contracts::order::{CancelReason, OrderCancelled, OrderDetails, OrderItem, OrderPlaced};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use inventory_service::stock::{Decided, Product, ReservationState, Stock, StockMessage};
use uuid::Uuid;

pub(crate) fn order_id(id: &str) -> OrderId {
    OrderId::parse(id).unwrap()
}

pub(crate) fn product_id(id: &str) -> ProductId {
    ProductId::parse(id).unwrap()
}

pub(crate) fn quantity(units: u64) -> Quantity {
    Quantity::parse(i64::try_from(units).unwrap()).unwrap()
}

pub(crate) fn line(product: &str, quantity: u64) -> StockLine {
    StockLine { product_id: product_id(product), quantity }
}

pub(crate) fn placed(order: &str, lines: &[(&str, u64)]) -> StockMessage {
    let items = lines.iter().map(|(product, units)| OrderItem {
        product_id: product_id(product),
        quantity: quantity(*units),
        unit_price: Amount::parse(100).unwrap(),
    });
    let customer = CustomerId::parse("CUSTOMER_001").unwrap();
    let details = OrderDetails::new(order_id(order), customer, Currency::EUR, items.collect(), None).unwrap();
    StockMessage::Placed(OrderPlaced(details))
}

pub(crate) fn cancelled(order: &str) -> StockMessage {
    StockMessage::Cancelled(OrderCancelled {
        order_id: order_id(order),
        customer_id: CustomerId::parse("CUSTOMER_001").unwrap(),
        reason: CancelReason::Customer { text: None },
    })
}

pub(crate) fn restock(product: &str, units: u64) -> StockMessage {
    StockMessage::Restock(Restock { product_id: product_id(product), quantity: quantity(units) })
}

/// The correlation id of the flow of a business id.
pub(crate) fn flow(key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes())
}

pub(crate) fn key(message: &StockMessage) -> &str {
    match message {
        StockMessage::Placed(order) => order.order_id.as_str(),
        StockMessage::Cancelled(order) => order.order_id.as_str(),
        StockMessage::Restock(restock) => restock.product_id.as_str(),
    }
}

pub(crate) fn product(available: u64) -> Product {
    Product { available, ..Product::default() }
}

pub(crate) fn available(products: &[(&str, u64)]) -> Stock {
    let products = products.iter().map(|(id, available)| (product_id(id), product(*available)));
    Stock { products: products.collect(), ..Stock::default() }
}

/// A stock to which messages were applied.
pub(crate) struct Given {
    pub(crate) stock: Stock,
    events: Vec<Decided>,
}

/// A stock with that many available units per product.
pub(crate) fn given(products: &[(&str, u64)]) -> Given {
    Given { stock: available(products), events: Vec::new() }
}

impl Given {
    /// Applies an earlier message; its events are ignored.
    pub(crate) fn and(mut self, message: &StockMessage) -> Self {
        self.stock.decide(message, flow(key(message)));
        self
    }

    /// Applies the message under test.
    pub(crate) fn when(mut self, message: &StockMessage) -> Self {
        self.events = self.stock.decide(message, flow(key(message)));
        self
    }

    /// Exactly these events, each with the version of its order or product.
    #[track_caller]
    pub(crate) fn then(self, expected: &[(InventoryEvent, i64)]) -> Self {
        let events: Vec<_> = self.events.iter().map(|decided| (decided.event.clone(), decided.version)).collect();
        assert_eq!(events, expected);
        self
    }

    /// The flows of the events.
    #[track_caller]
    pub(crate) fn in_flows(self, keys: &[&str]) -> Self {
        let flows: Vec<_> = self.events.iter().map(|decided| decided.correlation_id).collect();
        assert_eq!(flows, keys.iter().map(|key| flow(key)).collect::<Vec<_>>());
        self
    }

    /// The counts of a product: available, reserved, backordered.
    #[track_caller]
    pub(crate) fn counts(self, product: &str, expected: [u64; 3]) -> Self {
        let product = &self.stock.products[&product_id(product)];
        assert_eq!([product.available, product.reserved, product.backordered], expected);
        self
    }

    /// The state of an order's reservation.
    #[track_caller]
    pub(crate) fn has_state(self, order: &str, expected: ReservationState) -> Self {
        assert_eq!(self.stock.reservations[&order_id(order)].state, expected);
        self
    }
}
