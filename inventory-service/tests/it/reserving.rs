//! The order of service, example by example.

use contracts::inventory::{
    InventoryEvent, Restocked, StockBackordered, StockRefused, StockReleased, StockReserved,
};
use inventory_service::stock::ReservationState;

use crate::given::{cancelled, given, line, order_id, placed, product_id, quantity, restock};

fn reserved(order: &str, lines: &[(&str, u64)]) -> InventoryEvent {
    let lines = lines.iter().map(|(product, quantity)| line(product, *quantity)).collect();
    StockReserved { order_id: order_id(order), lines }.into()
}

fn released(order: &str, lines: &[(&str, u64)]) -> InventoryEvent {
    let lines = lines.iter().map(|(product, quantity)| line(product, *quantity)).collect();
    StockReleased { order_id: order_id(order), lines }.into()
}

fn backordered(order: &str, short: &[&str]) -> InventoryEvent {
    StockBackordered { order_id: order_id(order), short: short.iter().map(|id| product_id(id)).collect() }.into()
}

fn refused(order: &str, unknown: &[&str]) -> InventoryEvent {
    let unknown_products = unknown.iter().map(|id| product_id(id)).collect();
    StockRefused { order_id: order_id(order), unknown_products }.into()
}

fn restocked(product: &str, units: u64, available: u64) -> InventoryEvent {
    Restocked { product_id: product_id(product), quantity: quantity(units), available }.into()
}

#[test]
fn an_order_that_fits_is_reserved_line_by_line() {
    given(&[("CUP", 10), ("TEA", 15)])
        .when(&placed("A", &[("TEA", 4), ("CUP", 3)]))
        .then(&[(reserved("A", &[("CUP", 3), ("TEA", 4)]), 1)])
        .in_flows(&["A"])
        .counts("CUP", [7, 3, 0])
        .counts("TEA", [11, 4, 0]);
}

#[test]
fn lines_of_the_same_product_are_summed_up() {
    given(&[("CUP", 10)])
        .when(&placed("A", &[("CUP", 6), ("CUP", 4)]))
        .then(&[(reserved("A", &[("CUP", 10)]), 1)])
        .counts("CUP", [0, 10, 0]);
    given(&[("CUP", 9)])
        .when(&placed("A", &[("CUP", 6), ("CUP", 4)]))
        .then(&[(backordered("A", &["CUP"]), 1)])
        .counts("CUP", [9, 0, 10]);
}

#[test]
fn an_order_with_one_short_line_reserves_nothing_and_waits() {
    given(&[("CUP", 10), ("TEA", 1)])
        .when(&placed("A", &[("CUP", 3), ("TEA", 2)]))
        .then(&[(backordered("A", &["TEA"]), 1)])
        .counts("CUP", [10, 0, 3])
        .counts("TEA", [1, 0, 2])
        .has_state("A", ReservationState::Waiting { position: 1 });
}

#[test]
fn an_order_of_a_product_that_does_not_exist_is_refused_for_good() {
    given(&[("CUP", 10)])
        .when(&placed("A", &[("CUP", 3), ("TEA", 2), ("GIN", 1)]))
        .then(&[(refused("A", &["GIN", "TEA"]), 1)])
        .counts("CUP", [10, 0, 0])
        .and(&restock("TEA", 5))
        .and(&restock("GIN", 5))
        .when(&placed("A", &[("CUP", 3), ("TEA", 2), ("GIN", 1)]))
        .then(&[])
        .when(&cancelled("A"))
        .then(&[])
        .counts("CUP", [10, 0, 0]);
}

#[test]
fn an_order_placed_again_changes_nothing() {
    given(&[("CUP", 10)])
        .and(&placed("A", &[("CUP", 3)]))
        .when(&placed("A", &[("CUP", 3)]))
        .then(&[])
        .counts("CUP", [7, 3, 0]);
    given(&[("CUP", 2)])
        .and(&placed("A", &[("CUP", 3)]))
        .when(&placed("A", &[("CUP", 3)]))
        .then(&[])
        .counts("CUP", [2, 0, 3]);
}

#[test]
fn a_later_order_does_not_overtake_a_waiting_order_of_the_same_product() {
    given(&[("CUP", 2)])
        .and(&placed("A", &[("CUP", 3)]))
        .when(&placed("B", &[("CUP", 2)]))
        .then(&[(backordered("B", &["CUP"]), 1)])
        .counts("CUP", [2, 0, 5]);
}

#[test]
fn a_later_order_reserves_available_units_that_are_not_promised() {
    given(&[("CUP", 5), ("TEA", 0)])
        .and(&placed("A", &[("CUP", 3), ("TEA", 1)]))
        .when(&placed("B", &[("CUP", 2)]))
        .then(&[(reserved("B", &[("CUP", 2)]), 1)])
        .when(&restock("TEA", 1))
        .then(&[(restocked("TEA", 1, 1), 1), (reserved("A", &[("CUP", 3), ("TEA", 1)]), 2)])
        .counts("CUP", [0, 5, 0]);
}

#[test]
fn orders_without_a_common_product_may_overtake_each_other() {
    given(&[("CUP", 0), ("TEA", 1)])
        .and(&placed("A", &[("CUP", 1)]))
        .when(&placed("B", &[("TEA", 1)]))
        .then(&[(reserved("B", &[("TEA", 1)]), 1)]);
}

#[test]
fn a_restock_serves_waiting_orders_in_their_order() {
    given(&[("CUP", 0)])
        .and(&placed("B", &[("CUP", 2)]))
        .and(&placed("A", &[("CUP", 2)]))
        .and(&placed("C", &[("CUP", 2)]))
        .when(&restock("CUP", 5))
        .then(&[(restocked("CUP", 5, 5), 1), (reserved("B", &[("CUP", 2)]), 2), (reserved("A", &[("CUP", 2)]), 2)])
        .in_flows(&["CUP", "B", "A"])
        .counts("CUP", [1, 4, 2])
        .when(&restock("CUP", 1))
        .then(&[(restocked("CUP", 1, 2), 2), (reserved("C", &[("CUP", 2)]), 2)]);
}

#[test]
fn a_restock_does_not_serve_a_small_order_ahead_of_a_large_one() {
    given(&[("CUP", 0)])
        .and(&placed("LARGE", &[("CUP", 9)]))
        .and(&placed("SMALL", &[("CUP", 1)]))
        .when(&restock("CUP", 8))
        .then(&[(restocked("CUP", 8, 8), 1)])
        .when(&restock("CUP", 2))
        .then(&[
            (restocked("CUP", 2, 10), 2),
            (reserved("LARGE", &[("CUP", 9)]), 2),
            (reserved("SMALL", &[("CUP", 1)]), 2),
        ]);
}

#[test]
fn a_restock_of_an_unknown_product_creates_it() {
    given(&[])
        .when(&restock("CUP", 5))
        .then(&[(restocked("CUP", 5, 5), 1)])
        .in_flows(&["CUP"])
        .when(&placed("A", &[("CUP", 5)]))
        .then(&[(reserved("A", &[("CUP", 5)]), 1)]);
}

#[test]
fn a_cancelled_order_releases_its_units_to_the_next_one() {
    given(&[("CUP", 3)])
        .and(&placed("A", &[("CUP", 3)]))
        .and(&placed("B", &[("CUP", 2)]))
        .when(&cancelled("A"))
        .then(&[(released("A", &[("CUP", 3)]), 2), (reserved("B", &[("CUP", 2)]), 2)])
        .in_flows(&["A", "B"])
        .counts("CUP", [1, 2, 0])
        .has_state("A", ReservationState::Released)
        .when(&cancelled("A"))
        .then(&[])
        .counts("CUP", [1, 2, 0]);
}

#[test]
fn a_cancelled_waiting_order_lets_later_orders_move_up() {
    given(&[("CUP", 2)])
        .and(&placed("A", &[("CUP", 3)]))
        .and(&placed("B", &[("CUP", 2)]))
        .when(&cancelled("A"))
        .then(&[(reserved("B", &[("CUP", 2)]), 2)])
        .in_flows(&["B"])
        .counts("CUP", [0, 2, 0])
        .has_state("A", ReservationState::Cancelled)
        .when(&cancelled("A"))
        .then(&[]);
}

#[test]
fn a_cancellation_that_overtakes_its_order_prevents_the_reservation() {
    given(&[("CUP", 3)])
        .when(&cancelled("A"))
        .then(&[])
        .when(&placed("A", &[("CUP", 3)]))
        .then(&[])
        .when(&cancelled("A"))
        .then(&[])
        .counts("CUP", [3, 0, 0])
        .has_state("A", ReservationState::Cancelled);
}

#[test]
fn every_decision_for_an_order_has_the_next_version() {
    given(&[("CUP", 0)])
        .when(&placed("A", &[("CUP", 1)]))
        .then(&[(backordered("A", &["CUP"]), 1)])
        .when(&restock("CUP", 1))
        .then(&[(restocked("CUP", 1, 1), 1), (reserved("A", &[("CUP", 1)]), 2)])
        .when(&cancelled("A"))
        .then(&[(released("A", &[("CUP", 1)]), 3)]);
}
