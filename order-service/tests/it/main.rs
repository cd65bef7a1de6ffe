//! The decisions of orders, and batches, projections, and queries on real databases.
#![allow(clippy::unwrap_used, reason = "tests")]

mod decisions;
mod handling;
mod properties;
mod time_travel;

use contracts::inventory::{StockBackordered, StockRefused, StockReserved};
use contracts::order::{CancelOrder, OrderDetails, OrderEvent, OrderItem, PlaceOrder, Reason, StockDeadlinePassed};
use contracts::payment::{DeclineReason, PaymentCaptured, PaymentDeclined};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use order_service::order::{Order, OrderMessage, decide, evolve};

fn order_id() -> OrderId {
    OrderId::parse("ORDER_001").unwrap()
}

fn products() -> Vec<ProductId> {
    vec![ProductId::parse("PRODUCT_001").unwrap()]
}

fn details(quantity: i64) -> OrderDetails {
    let item = OrderItem {
        product_id: products().remove(0),
        quantity: Quantity::parse(quantity).unwrap(),
        unit_price: Amount::parse(1000).unwrap(),
    };
    OrderDetails::new(order_id(), CustomerId::parse("CUSTOMER_001").unwrap(), Currency::EUR, vec![item], None)
        .unwrap()
}

fn place(quantity: i64) -> OrderMessage {
    OrderMessage::Place(PlaceOrder(details(quantity)))
}

fn cancel() -> OrderMessage {
    OrderMessage::Cancel(CancelOrder {
        order_id: order_id(),
        reason: Some(Reason::parse("changed my mind").unwrap()),
    })
}

fn stock_reserved() -> OrderMessage {
    OrderMessage::StockReserved(StockReserved { order_id: order_id(), lines: vec![] })
}

fn stock_backordered() -> OrderMessage {
    OrderMessage::StockBackordered(StockBackordered { order_id: order_id(), short: products() })
}

fn stock_refused() -> OrderMessage {
    OrderMessage::StockRefused(StockRefused { order_id: order_id(), unknown_products: products() })
}

fn payment_captured() -> OrderMessage {
    let OrderDetails { order_id, customer_id, currency, total_price, .. } = details(3);
    let reference = "REFERENCE".to_owned();
    OrderMessage::PaymentCaptured(PaymentCaptured {
        order_id,
        customer_id,
        amount: total_price,
        currency,
        reference,
    })
}

fn payment_declined() -> OrderMessage {
    let OrderDetails { order_id, customer_id, .. } = details(3);
    OrderMessage::PaymentDeclined(PaymentDeclined { order_id, customer_id, reason: DeclineReason::NoCard })
}

fn stock_deadline() -> OrderMessage {
    OrderMessage::StockDeadline(StockDeadlinePassed { order_id: order_id() })
}

/// Decides on one message after another, and returns the order and the events.
fn play(messages: &[OrderMessage]) -> (Order, Vec<OrderEvent>) {
    messages.iter().fold((Order::default(), vec![]), |(order, mut events), message| {
        let decided = decide(&order, message);
        let order = decided.iter().fold(order, evolve);
        events.extend(decided);
        (order, events)
    })
}
