//! Any input, a parameter or a body, is parsed into a value that services accept, or refused with a reason.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::checks;
use crate::support::{an_account, an_order};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,70}",
        "[A-Za-z0-9_-]{0,66}",
        "[-+]?[0-9]{0,21}",
        "\"[ -~]{0,20}\"?",
        "\"[0-9]{0,20}\"",
        "([a-z]{1,4}=?\"?[a-z\\\\]{0,3}\"?[,; ]{0,2}){0,2}[wW]ait ?= ?\"?[0-9]{0,12}\"?[,;]?.{0,10}",
        "0[01]-[0-9a-f]{31,32}-[0-9a-fA-F]{16}-[0-9a-f]{2}",
        "[ -~]{250,260}",
        "placed|awaiting-stock|reserved|confirmed|cancelled",
        "([0-9]{1,20} ?(y|months|w|d|h|m|s|ms|ns) ?){1,3}",
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
        "\\PC{0,210}".prop_map(Value::from),
        "[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}".prop_map(Value::from),
        vec(Just(json!({})), 0..102).prop_map(Value::from),
        ("\\PC{0,8}", any::<u8>()).prop_map(|(name, value)| json!({name: value})),
    ]
}

fn bodies() -> Vec<Value> {
    vec![
        an_order("ORDER_001"),
        an_account("CUSTOMER_001"),
        json!({"reason": "found it cheaper"}),
        json!({"quantity": 5}),
        json!({"sequences": [1, 2], "force": true, "maxFailures": 3}),
        json!({"reason": "no service will process it"}),
        json!({}),
    ]
}

/// Lists all locations in a value, as JSON pointers.
fn places(value: &Value, at: &str, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| self::places(item, &format!("{at}/{index}"), places));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            self::places(field, &format!("{at}/{name}"), places);
        }),
        _ => {}
    }
}

/// Bodies: arbitrary bytes, and valid bodies with a changed value or a changed byte.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(bodies()), vec((any::<Index>(), leaf()), 0..3)).prop_map(|(mut body, changes)| {
        for (place, leaf) in changes {
            let mut all = Vec::new();
            places(&body, "", &mut all);
            let place: &String = place.get(&all);
            *body.pointer_mut(place).unwrap() = leaf;
        }
        body.to_string().into_bytes()
    });
    let broken = (select(bodies()), any::<Index>(), any::<u8>()).prop_map(|(body, place, byte)| {
        let mut bytes = body.to_string().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    prop_oneof![6 => changed, 2 => broken, 1 => vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn a_parameter_has_a_stable_canonical_form_or_is_refused_with_a_reason(text in text()) {
        checks::parameter(&text);
    }

    #[test]
    fn a_body_is_a_command_that_services_decode_or_a_problem_with_error_locations(body in body()) {
        checks::body(&body);
    }
}
