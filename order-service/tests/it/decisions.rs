//! Given a history, when a message arrives, then these events.

use choreography::Publish as _;
use contracts::order::OrderEvent;
use contracts::query::OrderStatus;
use order_service::order::{Order, OrderMessage, decide, evolve};

use crate::{
    cancel, payment_captured, payment_declined, place, play, stock_backordered, stock_deadline, stock_refused,
    stock_reserved,
};

/// An order with a history of messages.
fn given(history: &[OrderMessage]) -> Given {
    Given { order: play(history).0 }
}

struct Given {
    order: Order,
}

impl Given {
    fn when(self, message: OrderMessage) -> When {
        let events = decide(&self.order, &message);
        let order = events.iter().fold(self.order.clone(), evolve);
        When { before: self.order, order, events }
    }
}

struct When {
    before: Order,
    order: Order,
    events: Vec<OrderEvent>,
}

impl When {
    /// Then these types of events, and this status.
    fn then(self, types: &[&str], status: Option<OrderStatus>) {
        let types_of_events: Vec<&str> = self.events.iter().map(OrderEvent::message_type).collect();
        assert_eq!(types_of_events, types);
        assert_eq!(self.order.status(), status);
    }

    fn then_nothing(self) {
        assert_eq!(self.events, []);
        assert_eq!(self.order, self.before);
    }

    fn then_refused(self, message_type: &str) {
        assert_eq!(self.events.iter().map(OrderEvent::message_type).collect::<Vec<_>>(), [message_type]);
        assert_eq!(self.order, self.before, "a refusal changes nothing");
    }
}

#[test]
fn an_order_is_placed_once() {
    given(&[]).when(place(3)).then(&["order.placed.v1"], Some(OrderStatus::Placed));
    for history in [
        vec![place(3)],
        vec![place(3), stock_backordered()],
        vec![place(3), stock_reserved()],
        vec![place(3), stock_reserved(), payment_captured()],
        vec![place(3), cancel()],
    ] {
        given(&history).when(place(3)).then_nothing();
    }
}

#[test]
fn a_used_id_refuses_other_content_in_every_state() {
    for history in
        [vec![place(3)], vec![place(3), stock_reserved()], vec![place(3), cancel()], vec![cancel(), place(3)]]
    {
        given(&history).when(place(4)).then_refused("order.place-refused.v1");
    }
}

#[test]
fn reserved_stock_makes_an_open_order_reserved_once() {
    let events = ["order.reserved.v1"];
    given(&[place(3)]).when(stock_reserved()).then(&events, Some(OrderStatus::Reserved));
    given(&[place(3), stock_backordered()]).when(stock_reserved()).then(&events, Some(OrderStatus::Reserved));
    given(&[place(3), stock_reserved()]).when(stock_reserved()).then_nothing();
    given(&[place(3), stock_reserved(), payment_captured()]).when(stock_reserved()).then_nothing();
    given(&[place(3), cancel()]).when(stock_reserved()).then_nothing();
}

#[test]
fn a_captured_payment_confirms_a_reserved_order() {
    let paid = [place(3), stock_reserved(), payment_captured()];
    given(&paid[..2]).when(payment_captured()).then(&["order.confirmed.v1"], Some(OrderStatus::Confirmed));
    given(&paid).when(payment_captured()).then_nothing();
    given(&[place(3), cancel()]).when(payment_captured()).then_nothing();
}

#[test]
fn a_captured_payment_that_overtakes_its_reservation_emits_both_events() {
    let events = ["order.reserved.v1", "order.confirmed.v1"];
    given(&[place(3)]).when(payment_captured()).then(&events, Some(OrderStatus::Confirmed));
    given(&[place(3), stock_backordered()]).when(payment_captured()).then(&events, Some(OrderStatus::Confirmed));
}

#[test]
fn a_declined_payment_cancels_an_open_order_with_that_reason() {
    let reserved = [place(3), stock_reserved()];
    given(&reserved).when(payment_declined()).then(&["order.cancelled.v1"], Some(OrderStatus::Cancelled));
    given(&[place(3)]).when(payment_declined()).then(&["order.cancelled.v1"], Some(OrderStatus::Cancelled));
    let (_, events) = play(&[place(3), stock_reserved(), payment_declined()]);
    let body = serde_json::to_value(events.last().unwrap()).unwrap();
    assert_eq!(body["reason"], serde_json::json!({"code": "payment-declined", "reason": "no-card"}));
    given(&[place(3), cancel()]).when(payment_declined()).then_nothing();
    given(&[place(3), stock_reserved(), payment_captured()]).when(payment_declined()).then_nothing();
}

#[test]
fn a_deadline_cancels_an_order_that_still_awaits_stock_and_no_other() {
    let waiting = [place(3), stock_backordered()];
    given(&waiting).when(stock_deadline()).then(&["order.cancelled.v1"], Some(OrderStatus::Cancelled));
    for history in [
        vec![],
        vec![place(3)],
        vec![place(3), stock_backordered(), stock_reserved()],
        vec![place(3), stock_reserved(), payment_captured()],
        vec![place(3), cancel()],
    ] {
        given(&history).when(stock_deadline()).then_nothing();
    }
}

#[test]
fn short_stock_makes_an_order_wait_once() {
    given(&[place(3)])
        .when(stock_backordered())
        .then(&["order.awaiting-stock.v1"], Some(OrderStatus::AwaitingStock));
    given(&[place(3), stock_backordered()]).when(stock_backordered()).then_nothing();
    given(&[place(3), stock_reserved()]).when(stock_backordered()).then_nothing();
    given(&[place(3), cancel()]).when(stock_backordered()).then_nothing();
}

#[test]
fn the_event_of_a_waiting_order_has_its_customer_and_the_products_that_are_short() {
    let (_, events) = play(&[place(3), stock_backordered()]);
    let body = serde_json::to_value(events.last().unwrap()).unwrap();
    let expected =
        serde_json::json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "short": ["PRODUCT_001"]});
    assert_eq!(body, expected);
}

#[test]
fn an_unknown_product_cancels_the_order_with_that_reason() {
    given(&[place(3)]).when(stock_refused()).then(&["order.cancelled.v1"], Some(OrderStatus::Cancelled));
    let (order, events) = play(&[place(3), stock_refused()]);
    let body = serde_json::to_value(events.last().unwrap()).unwrap();
    assert_eq!(body["reason"]["code"], "unknown-product");
    assert_eq!(body["reason"]["productIds"][0], "PRODUCT_001");
    assert_eq!(order.status(), Some(OrderStatus::Cancelled));
    given(&[place(3), cancel()]).when(stock_refused()).then_nothing();
}

#[test]
fn a_customer_may_cancel_until_the_order_is_final() {
    for history in [vec![place(3)], vec![place(3), stock_backordered()], vec![place(3), stock_reserved()]] {
        given(&history).when(cancel()).then(&["order.cancelled.v1"], Some(OrderStatus::Cancelled));
    }
    given(&[place(3), stock_reserved(), payment_captured()]).when(cancel()).then_refused("order.cancel-refused.v1");
    given(&[place(3), cancel()]).when(cancel()).then_nothing();
}

#[test]
fn a_cancel_that_overtakes_its_order_cancels_it_when_it_is_placed() {
    given(&[]).when(cancel()).then(&["order.cancel-deferred.v1"], None);
    given(&[cancel()]).when(cancel()).then_nothing();
    given(&[cancel()])
        .when(place(3))
        .then(&["order.placed.v1", "order.cancelled.v1"], Some(OrderStatus::Cancelled));
}

#[test]
fn stock_or_payment_of_an_unknown_order_changes_nothing() {
    for message in [stock_reserved(), stock_backordered(), stock_refused(), payment_captured(), payment_declined()]
    {
        given(&[]).when(message).then_nothing();
    }
}
