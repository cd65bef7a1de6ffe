//! The wire format of the contracts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod account;
mod capacity;
mod catalogue;
mod checks;
mod published;
mod untrusted;

use choreography::catalogue::catalogue;
use choreography::{DecodeError, MessageInfo, Messages, Publish};
use contracts::declaration::full_declarations;
use contracts::inventory::{InventoryCommand, Restock};
use contracts::order::{CancelReason, InvalidOrder, OrderCommand, OrderDetails, OrderItem, PlaceOrder};
use contracts::topology::{COMMANDS, DEAD_LETTERS, EVENTS, IDEMPOTENCY, TIMERS, TOPOLOGY};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use serde_json::{Value, json};

/// The declarations of all messages, commands first.
fn messages() -> impl Iterator<Item = MessageInfo> {
    catalogue(&full_declarations()).into_iter().map(|entry| entry.message)
}

fn item(product: &str, quantity: i64, price: i64) -> OrderItem {
    OrderItem {
        product_id: ProductId::parse(product).unwrap(),
        quantity: Quantity::parse(quantity).unwrap(),
        unit_price: Amount::parse(price).unwrap(),
    }
}

fn details(items: Vec<OrderItem>, total: Option<i64>) -> Result<OrderDetails, InvalidOrder> {
    OrderDetails::new(
        OrderId::parse("ORDER_001").unwrap(),
        CustomerId::parse("CUSTOMER_001").unwrap(),
        Currency::EUR,
        items,
        total,
    )
}

fn place_order_json() -> Value {
    json!({
        "orderId": "ORDER_001", "customerId": "CUSTOMER_001", "currency": "EUR",
        "items": [{"productId": "PRODUCT_001", "quantity": 3, "unitPrice": 1000}],
        "totalPrice": 3000
    })
}

#[test]
fn ids_are_1_to_64_of_the_allowed_characters() {
    for good in ["a", "ORDER_001", "x-Y_9", &"k".repeat(64)] {
        assert!(OrderId::parse(good).is_ok(), "{good}");
    }
    for bad in ["", " ", "a.b", "a*", ">", "ä", "a b", "a\n", &"k".repeat(65)] {
        assert!(OrderId::parse(bad).is_err(), "{bad:?}");
        assert!(serde_json::from_value::<OrderId>(json!(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn amounts_and_quantities_outside_their_range_do_not_parse() {
    assert!(Amount::parse(-1).is_err());
    assert!(Amount::parse(i64::MAX).is_err());
    assert!(Quantity::parse(0).is_err());
    assert!(Quantity::parse(1_000_001).is_err());
    assert!(Quantity::parse(i64::MIN).is_err());
    assert!(Quantity::parse(1_000_000).is_ok());
}

#[test]
fn a_total_is_the_sum_of_the_lines_and_never_overflows() {
    let order = details(vec![item("PRODUCT_001", 3, 1000), item("PRODUCT_002", 2, 500)], Some(4000)).unwrap();
    assert_eq!(order.total_price.minor_units(), 4000);
    assert_eq!(
        details(vec![item("PRODUCT_001", 3, 1000)], Some(4000)),
        Err(InvalidOrder::TotalMismatch { stated: 4000, computed: 3000 })
    );
    let dear = item("PRODUCT_001", 1_000_000, contracts::money::MAX_AMOUNT);
    assert_eq!(details(vec![dear.clone(), dear], None), Err(InvalidOrder::TotalTooLarge));
    assert_eq!(details(vec![], None), Err(InvalidOrder::ItemCount(0)));
    assert_eq!(details(vec![item("P", 1, 1); 101], None), Err(InvalidOrder::ItemCount(101)));
}

#[test]
fn a_command_is_serialised_as_plain_json_on_its_own_subject() {
    let command = OrderCommand::decode("order.place.v1", place_order_json().to_string().as_bytes()).unwrap();
    assert_eq!(command.subject(), "order.command.place.ORDER_001");
    assert_eq!(command.message_type(), "order.place.v1");
    assert_eq!(command.key(), "ORDER_001");
    assert_eq!(serde_json::to_value(&command).unwrap(), place_order_json());

    let restock = InventoryCommand::from(Restock {
        product_id: ProductId::parse("PRODUCT_001").unwrap(),
        quantity: Quantity::parse(5).unwrap(),
    });
    assert_eq!(restock.subject(), "inventory.command.restock.PRODUCT_001");
    assert_eq!(serde_json::to_value(&restock).unwrap(), json!({"productId": "PRODUCT_001", "quantity": 5}));
}

#[test]
fn a_body_that_violates_its_schema_or_its_sum_is_refused() {
    let mut wrong_sum = place_order_json();
    wrong_sum["totalPrice"] = json!(1);
    for bad in [json!({}), json!([]), json!({"orderId": "a.b"}), wrong_sum] {
        let refused = OrderCommand::decode("order.place.v1", bad.to_string().as_bytes());
        assert!(matches!(refused, Err(DecodeError::Body { message_type: "order.place.v1", .. })), "{bad}");
    }
    let unknown = OrderCommand::decode("order.place.v2", place_order_json().to_string().as_bytes());
    assert!(matches!(unknown, Err(DecodeError::UnknownType(_))));
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let mut extended = place_order_json();
    extended["giftWrap"] = json!(true);
    let command = OrderCommand::decode("order.place.v1", extended.to_string().as_bytes()).unwrap();
    let expected: PlaceOrder = serde_json::from_value(place_order_json()).unwrap();
    assert_eq!(command, expected.into());
}

#[test]
fn a_cancel_reason_is_a_code_with_its_details() {
    let reason = CancelReason::UnknownProduct { product_ids: vec![ProductId::parse("PRODUCT_009").unwrap()] };
    assert_eq!(
        serde_json::to_value(reason).unwrap(),
        json!({"code": "unknown-product", "productIds": ["PRODUCT_009"]})
    );
}

#[test]
fn the_topology_declares_each_stream_and_bucket() {
    let topology: Value = serde_json::from_str(TOPOLOGY).unwrap();
    let names = |list: &str| -> Vec<String> {
        topology[list].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("streams"), [COMMANDS, EVENTS, TIMERS, DEAD_LETTERS]);
    assert_eq!(names("buckets"), [IDEMPOTENCY]);
}
