//! Generated files for other programs: JSON Schemas of all messages and the AsyncAPI document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use choreography::{Kind, MessageInfo, Messages};
use choreography_test::contract::{breaking_changes, unmet};
use contracts::account::{AccountCommand, AccountEvent};
use contracts::identity::{IdentityCommand, IdentityEvent};
use contracts::inventory::{InventoryCommand, InventoryEvent};
use contracts::order::{OrderCommand, OrderEvent, OrderTimer};
use contracts::payment::PaymentEvent;
use contracts::{EXAMPLES, asyncapi};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::messages;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a file with its expected content; `UPDATE_GOLDEN=1` writes it.
fn golden(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "{path} is stale: run `UPDATE_GOLDEN=1 cargo test -p contracts` and review the difference"
    );
}

fn examples() -> Map<String, Value> {
    serde_json::from_str(EXAMPLES).unwrap()
}

/// Decodes a body by its type and serialises it again, in the newest version.
fn rewritten(message: &MessageInfo, body: &Value) -> Value {
    let (message_type, body) = (message.message_type, serde_json::to_vec(body).unwrap());
    let written = match (message.context, message.kind) {
        ("order", Kind::Command) => serde_json::to_value(OrderCommand::decode(message_type, &body).unwrap()),
        ("order", Kind::Timer) => serde_json::to_value(OrderTimer::decode(message_type, &body).unwrap()),
        ("order", _) => serde_json::to_value(OrderEvent::decode(message_type, &body).unwrap()),
        ("inventory", Kind::Command) => {
            serde_json::to_value(InventoryCommand::decode(message_type, &body).unwrap())
        }
        ("inventory", _) => serde_json::to_value(InventoryEvent::decode(message_type, &body).unwrap()),
        ("account", Kind::Command) => serde_json::to_value(AccountCommand::decode(message_type, &body).unwrap()),
        ("account", _) => serde_json::to_value(AccountEvent::decode(message_type, &body).unwrap()),
        ("identity", Kind::Command) => serde_json::to_value(IdentityCommand::decode(message_type, &body).unwrap()),
        ("identity", _) => serde_json::to_value(IdentityEvent::decode(message_type, &body).unwrap()),
        _ => serde_json::to_value(PaymentEvent::decode(message_type, &body).unwrap()),
    };
    written.unwrap()
}

#[test]
fn the_asyncapi_document_is_the_one_that_was_reviewed() {
    let document = asyncapi::document(&examples()).unwrap();
    golden("asyncapi.yaml", &serde_saphyr::to_string(&document).unwrap());
}

#[test]
fn the_schema_of_every_message_is_the_one_that_was_reviewed() {
    for message in versions() {
        let (path, schema) =
            (format!("docs/schemas/{}.json", message.message_type), message.json_schema().unwrap());
        if let Ok(kept) = std::fs::read(root().join(&path)) {
            let changes = breaking_changes(&serde_json::from_slice(&kept).unwrap(), &schema);
            let name = message.message_type;
            assert!(
                changes.is_empty(),
                "{name} has changes that break consumers: {changes:#?}\nraise its version, and keep the old struct as `upcast`"
            );
        }
        golden(&path, &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    }
    let kept = std::fs::read_dir(root().join("docs/schemas")).unwrap();
    let kept: BTreeSet<String> = kept.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let declared = files();
    assert_eq!(kept, declared, "docs/schemas must have one file per message");
}

/// Returns all versions of all messages.
fn versions() -> impl Iterator<Item = MessageInfo> {
    messages().flat_map(|message| message.versions().copied().collect::<Vec<_>>())
}

/// Returns the file names of all versions of all messages.
fn files() -> BTreeSet<String> {
    versions().map(|message| format!("{}.json", message.message_type)).collect()
}

/// The samples are kept forever: bodies as they were published. `UPDATE_GOLDEN=1` adds the examples of new messages.
#[test]
fn every_body_that_was_ever_published_is_read() {
    let (folder, examples) = (root().join("contracts/samples"), examples());
    for message in messages() {
        let file = folder.join(format!("{}.json", message.message_type));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !file.exists() {
            let sample = serde_json::to_string_pretty(&json!([examples[message.message_type]])).unwrap();
            std::fs::write(file, sample + "\n").unwrap();
        }
    }
    let kept: BTreeSet<String> =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept, files(), "each version of each message has its samples, and no version disappears");
    for message in messages() {
        for version in message.versions() {
            let samples = std::fs::read(folder.join(format!("{}.json", version.message_type))).unwrap();
            let samples: Vec<Value> = serde_json::from_slice(&samples).unwrap();
            assert!(!samples.is_empty());
            let newest = jsonschema::validator_for(&message.json_schema().unwrap()).unwrap();
            for sample in samples {
                let read = rewritten(version, &sample);
                assert!(newest.is_valid(&read), "{} {read}", version.message_type);
            }
        }
    }
}

/// What a service outside of this repository needs of a message: its own struct, with the fields that it uses.
#[test]
fn what_a_consumer_with_a_smaller_struct_needs_is_published() {
    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "the schema alone is used")]
    struct Placed {
        order_id: String,
        items: Vec<Item>,
        gift_wrap: Option<bool>,
    }
    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "the schema alone is used")]
    struct Item {
        product_id: String,
        quantity: u32,
    }
    let message = messages().find(|message| message.message_type == "order.placed.v1").unwrap();
    let (mut needed, published) = (schemars::schema_for!(Placed).to_value(), message.json_schema().unwrap());
    assert_eq!(unmet(&needed, &published), Vec::<String>::new());
    needed["properties"]["orderId"]["type"] = json!("integer");
    assert_eq!(unmet(&needed, &published), ["/orderId must be integer, and is published as string"]);
}

#[test]
fn every_message_has_an_example_that_round_trips_and_matches_its_schema() {
    let mut examples = examples();
    for message in messages() {
        let example = examples.remove(message.message_type).unwrap_or_else(|| panic!("{}", message.message_type));
        assert_eq!(rewritten(&message, &example), example, "{}", message.message_type);
        let validator = jsonschema::validator_for(&message.json_schema().unwrap()).unwrap();
        if let Err(error) = validator.validate(&example) {
            panic!("{}: {error}", message.message_type);
        }
    }
    assert!(examples.is_empty(), "examples without a message: {examples:?}");
}

/// Calls `visit` with every reference in a document.
fn references<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str)) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                visit(reference);
            }
            members.values().for_each(|member| references(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_of_the_asyncapi_document_resolves() {
    let document = asyncapi::document(&examples()).unwrap();
    let mut count = 0;
    references(&document, &mut |reference| {
        count += 1;
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    });
    assert!(count > 100, "{count}");
}

/// Replaces one value of an example by one that its type refuses; the schema must refuse it, too.
#[test]
fn a_schema_refuses_the_values_that_its_type_refuses() {
    let examples = examples();
    let bad = [
        ("order.placed.v1", "/orderId", json!("not a valid id")),
        ("order.placed.v1", "/orderId", json!("")),
        ("order.placed.v1", "/orderId", json!("k".repeat(65))),
        ("order.placed.v1", "/currency", json!("euro")),
        ("order.placed.v1", "/items", json!([])),
        ("order.placed.v1", "/items/0/quantity", json!(0)),
        ("order.placed.v1", "/items/0/quantity", json!(1_000_001)),
        ("order.placed.v1", "/items/0/unitPrice", json!(-1)),
        ("order.placed.v1", "/items/0/unitPrice", json!(9_007_199_254_740_992_i64)),
        ("order.placed.v1", "/items/0/unitPrice", json!("10")),
        ("order.cancelled.v1", "/reason/code", json!("boredom")),
        ("payment.declined.v1", "/reason", json!("boredom")),
        ("account.create.v1", "/details/name", json!("two\nlines")),
        ("account.create.v1", "/details/name", json!("n".repeat(201))),
        ("account.create.v1", "/details/contact/email", json!("nobody")),
        ("account.create.v1", "/details/contact/phone", json!("call me")),
        ("account.create.v1", "/details/card/lastFour", json!("12345")),
        ("account.create.v1", "/details/card/expiry", json!("2030-13")),
        ("account.create.v1", "/details/card/token", json!("no token")),
    ];
    for (message_type, pointer, value) in bad {
        let message = messages().find(|message| message.message_type == message_type).unwrap();
        let validator = jsonschema::validator_for(&message.json_schema().unwrap()).unwrap();
        let mut body = examples[message_type].clone();
        *body.pointer_mut(pointer).unwrap() = value.clone();
        assert!(!validator.is_valid(&body), "{message_type} {pointer} {value}");
    }
}

mod properties {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{Value, messages};

    fn id() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_-]{1,64}"
    }

    fn an_order() -> impl Strategy<Value = Value> {
        let item = (id(), 1_i64..=1_000_000, 0_i64..=1_000_000);
        (id(), id(), prop::collection::vec(item, 1..=100)).prop_map(|(order, customer, items)| {
            let total: i64 = items.iter().map(|(_, quantity, price)| quantity * price).sum();
            let line = |(product, quantity, price)| json!({"productId": product, "quantity": quantity, "unitPrice": price});
            let items: Vec<Value> = items.into_iter().map(line).collect();
            json!({
                "orderId": order, "customerId": customer, "currency": "CHF", "items": items, "totalPrice": total
            })
        })
    }

    fn an_account() -> impl Strategy<Value = Value> {
        let line = "[a-zA-ZäöüßéñŁ'’ -]{0,60}[a-zA-ZäöüßéñŁ]";
        let contact = ("[a-z.]{1,20}@[a-z]{1,10}(\\.[a-z]{2,5}){1,2}", prop::option::of("\\+[0-9]{3,15}"));
        let card = prop::option::of(("tok_[a-z]{1,40}", line, "[0-9]{4}", 1000..=9999, 1..=12));
        (id(), line, contact, card, 0_i64..=9_007_199_254_740_991, prop::collection::vec(line, 0..=10)).prop_map(
            |(customer, name, (email, phone), card, limit, streets)| {
                let mut details = json!({
                    "name": name, "contact": {"email": email}, "creditLimit": {"amount": limit, "currency": "EUR"},
                    "addresses": streets.into_iter().map(|street| json!({
                        "type": "shipping", "street": street, "postalCode": "1", "city": "b", "country": "c"
                    })).collect::<Vec<_>>()
                });
                if let Some(phone) = phone {
                    details["contact"]["phone"] = json!(phone);
                }
                if let Some((token, brand, four, year, month)) = card {
                    details["card"] = json!({
                        "token": token, "brand": brand, "lastFour": four, "expiry": format!("{year}-{month:02}")
                    });
                }
                json!({"customerId": customer, "version": 1, "details": details})
            },
        )
    }

    /// A body that is read and written again matches the schema.
    fn fits(message_type: &str, body: &Value) -> Result<(), TestCaseError> {
        let message = messages().find(|message| message.message_type == message_type).unwrap();
        let validator = jsonschema::validator_for(&message.json_schema().unwrap()).unwrap();
        let written = super::rewritten(&message, body);
        let fit = validator.validate(&written).map_err(|error| error.to_string());
        prop_assert!(fit.is_ok(), "{:?}: {}", fit, written);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_order_matches_the_schema_of_orders(order in an_order()) {
            fits("order.placed.v1", &order)?;
            fits("order.place.v1", &order)?;
        }

        #[test]
        fn every_account_matches_the_schema_of_accounts(account in an_account()) {
            fits("account.changed.v1", &account)?;
        }
    }
}
