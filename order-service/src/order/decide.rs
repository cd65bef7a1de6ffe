//! The decision: the events that a message causes.

use contracts::order::{
    CancelOrder, CancelOrderDeferred, CancelOrderRefused, CancelReason, CancelRefusal, OrderAwaitingStock,
    OrderCancelled, OrderConfirmed, OrderDetails, OrderEvent, OrderPlaced, OrderReserved, PlaceOrder,
    PlaceOrderRefused, PlaceRefusal,
};

use super::{Order, OrderMessage, Stage};

/// Returns the events that `message` causes on `order`; none if it changes nothing.
#[must_use]
pub fn decide(order: &Order, message: &OrderMessage) -> Vec<OrderEvent> {
    match message {
        OrderMessage::Place(command) => place(order, command),
        OrderMessage::Cancel(command) => cancel(order, command),
        OrderMessage::StockReserved(_) => match order {
            Order::Open { details, stage: Stage::Placed | Stage::AwaitingStock } => vec![reserved(details)],
            // inventory-service consumes the cancellation, too, and releases the stock.
            _ => vec![],
        },
        OrderMessage::StockBackordered(event) => match order {
            Order::Open { details, stage: Stage::Placed } => {
                let OrderDetails { order_id, customer_id, .. } = details.clone();
                vec![OrderAwaitingStock { order_id, customer_id, short: event.short.clone() }.into()]
            }
            // The order already waits, or a later event has overtaken this one.
            _ => vec![],
        },
        OrderMessage::StockRefused(event) => match order {
            Order::Open { details, .. } => {
                vec![cancelled(
                    details,
                    CancelReason::UnknownProduct { product_ids: event.unknown_products.clone() },
                )]
            }
            _ => vec![],
        },
        OrderMessage::PaymentCaptured(_) => match order {
            Order::Open { details, stage: Stage::Reserved } => vec![confirmed(details)],
            // No payment is captured before its stock is reserved: this event has overtaken the reservation.
            Order::Open { details, .. } => vec![reserved(details), confirmed(details)],
            // payment-service consumes the cancellation, too, and refunds the payment.
            _ => vec![],
        },
        OrderMessage::PaymentDeclined(event) => match order {
            Order::Open { details, .. } => {
                vec![cancelled(details, CancelReason::PaymentDeclined { reason: event.reason })]
            }
            _ => vec![],
        },
        OrderMessage::StockDeadline(_) => match order {
            Order::Open { details, stage: Stage::AwaitingStock } => {
                vec![cancelled(details, CancelReason::StockDeadline)]
            }
            // A late timer changes nothing.
            _ => vec![],
        },
    }
}

fn place(order: &Order, command: &PlaceOrder) -> Vec<OrderEvent> {
    match order {
        Order::Unknown => vec![OrderPlaced(command.0.clone()).into()],
        Order::CancelDeferred { reason } => {
            let reason = CancelReason::Customer { text: reason.clone() };
            vec![OrderPlaced(command.0.clone()).into(), cancelled(command, reason)]
        }
        Order::Open { details, .. } | Order::Confirmed { details } | Order::Cancelled { details, .. } => {
            if *details == command.0 {
                return vec![];
            }
            let order_id = command.order_id.clone();
            vec![PlaceOrderRefused { order_id, reason: PlaceRefusal::IdAlreadyUsed }.into()]
        }
    }
}

fn cancel(order: &Order, command: &CancelOrder) -> Vec<OrderEvent> {
    let order_id = command.order_id.clone();
    let text = || command.reason.clone().map(String::from);
    match order {
        Order::Unknown => vec![CancelOrderDeferred { order_id, reason: text() }.into()],
        Order::Open { details, .. } => vec![cancelled(details, CancelReason::Customer { text: text() })],
        Order::Confirmed { .. } => {
            vec![CancelOrderRefused { order_id, reason: CancelRefusal::AlreadyConfirmed }.into()]
        }
        Order::CancelDeferred { .. } | Order::Cancelled { .. } => vec![],
    }
}

fn reserved(details: &OrderDetails) -> OrderEvent {
    OrderReserved { order_id: details.order_id.clone() }.into()
}

fn confirmed(details: &OrderDetails) -> OrderEvent {
    let confirmed = OrderConfirmed {
        order_id: details.order_id.clone(),
        customer_id: details.customer_id.clone(),
        currency: details.currency,
        total_price: details.total_price,
    };
    confirmed.into()
}

fn cancelled(details: &OrderDetails, reason: CancelReason) -> OrderEvent {
    let OrderDetails { order_id, customer_id, .. } = details.clone();
    OrderCancelled { order_id, customer_id, reason }.into()
}
