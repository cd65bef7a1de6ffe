//! Untrusted input either round-trips or is refused with a reason.

use choreography::{DecodeError, Messages as _};
use contracts::account::{Line, looks_like_a_card_number};
use contracts::order::OrderCommand;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::checks;

/// Text: arbitrary, or close to an id, an address, a number, or a month.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_-]{0,33}[.*>/ é]?[A-Za-z0-9_-]{0,33}",
        "[ +]{0,2}[0-9 ./()-]{0,24}",
        "[!-~]{0,12}@[a-z0-9.-]{0,20}",
        "[0-9]{3,5}-[0-9]{1,3}",
        " ?\\PC{0,210} ?",
        "[０-９0-9]{1,20}",
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2_i64..1_000_002).prop_map(Value::from),
        text().prop_map(Value::from),
        select(vec!["EUR", "JPY", "placed", "billing", "stock-deadline", "customer", "XXX"]).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ]
}

/// Valid bodies, one of each shape.
fn bodies() -> Vec<Value> {
    let line = json!({"productId": "PRODUCT_001", "quantity": 3, "unitPrice": 1000});
    let address =
        json!({"type": "billing", "street": "Kaistr. 2", "postalCode": "1", "city": "Bonn", "country": "DE"});
    let details = json!({
        "name": "Zoë", "addresses": [address], "contact": {"email": "zoe@example.org", "phone": "+49 30 123456"},
        "card": {"token": "tok_1", "brand": "Visa", "lastFour": "1111", "expiry": "2030-12"},
        "creditLimit": {"amount": 100_000, "currency": "EUR"}
    });
    vec![
        json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "currency": "EUR", "items": [line],
               "totalPrice": 3000}),
        json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "reason": {"code": "customer", "text": "late"}}),
        json!({"orderId": "ORDER_001", "customerId": "CUSTOMER_001", "amount": 3000, "currency": "EUR",
               "reason": "limit-exceeded", "short": ["PRODUCT_001"], "items": [line], "reference": "r"}),
        json!({"customerId": "CUSTOMER_001", "version": 1, "expectedVersion": 1, "details": details}),
        json!({"productId": "PRODUCT_001", "quantity": 5, "after": "x", "cursor": "1.ORDER_001", "limit": 7}),
        json!({"after": 3, "limit": 7}),
    ]
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the node at position `at`.
fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, at, with)),
        _ => {}
    }
}

/// Bodies: arbitrary bytes, and valid ones with changed values or a changed byte.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(bodies()), proptest::collection::vec((any::<Index>(), leaf()), 0..3)).prop_map(
        |(mut body, changes)| {
            for (place, leaf) in changes {
                let mut at = place.index(count(&body));
                replace(&mut body, &mut at, &leaf);
            }
            body.to_string().into_bytes()
        },
    );
    let broken = (select(bodies()), any::<Index>(), any::<u8>()).prop_map(|(body, place, byte)| {
        let mut bytes = body.to_string().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    prop_oneof![6 => changed, 2 => broken, 1 => proptest::collection::vec(any::<u8>(), 0..64)]
}

fn is_luhn(digits: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let digits = digits.chars().rev().map(|c| c.to_digit(10).unwrap()).enumerate();
    digits.map(|(place, digit)| if place % 2 == 0 { digit } else { doubled(digit) }).sum::<u32>() % 10 == 0
}

/// A card number: 13 to 19 digits with a correct check digit.
fn card_number() -> impl Strategy<Value = String> {
    "[1-9][0-9]{11,17}"
        .prop_map(|digits| (0..10).map(|check| format!("{digits}{check}")).find(|number| is_luhn(number)).unwrap())
}

proptest! {
    #[test]
    fn a_body_round_trips_or_is_refused_with_its_type(body in body()) {
        checks::body(&body);
    }

    #[test]
    fn a_number_round_trips_or_is_refused(number in leaf()) {
        checks::body(number.to_string().as_bytes());
    }

    #[test]
    fn a_text_matches_its_pattern_round_trips_and_contains_no_card_number(text in text()) {
        checks::text(&text);
    }

    #[test]
    fn an_undeclared_type_is_refused_by_its_name(message_type in ".{0,30}", body in body()) {
        prop_assume!(OrderCommand::MESSAGES.iter().all(|info| info.message_type != message_type));
        let refused = OrderCommand::decode(&message_type, &body);
        prop_assert!(matches!(refused, Err(DecodeError::UnknownType(named)) if named == message_type));
    }

    #[test]
    fn a_card_number_is_found_at_any_position(
        number in card_number(), between in "[ ./_-]{0,3}", before in "\\PC{0,20}", after in "\\PC{0,20}",
    ) {
        let groups: Vec<&str> = number.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
        // A letter separates it from adjacent digits.
        let text = format!("{before}x{}x{after}", groups.join(&between));
        prop_assert!(looks_like_a_card_number(&text), "{}", text);
        let refused = Line::parse(&text).unwrap_err().to_string();
        prop_assert!(!refused.contains(&number));
    }
}
