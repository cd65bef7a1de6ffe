//! What must hold of whatever comes from outside. The properties here and the targets of `fuzz/` check the same.

use std::fmt::Debug;

use contracts::account::{
    AccountCommand, AccountEvent, CardToken, Email, Expiry, LastFour, Line, Phone, looks_like_a_card_number,
};
use contracts::inventory::{InventoryCommand, InventoryEvent};
use contracts::order::{OrderCommand, OrderEvent, OrderTimer};
use contracts::payment::PaymentEvent;
use contracts::query::{ListAccounts, ListNotifications, ListOrders, ListProducts};
use contracts::{Amount, CustomerId, DecodeError, OrderId, ProductId, Quantity};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read as a `T` must be read the same again once it is written.
fn json_is_read_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), value);
    }
}

/// Reads a body as each message of a set.
macro_rules! messages_are_read_again {
    ($body:expr, $($set:ty),+) => { $(
        for declared in <$set>::TYPES {
            match <$set>::decode(declared, $body) {
                Ok(message) => {
                    let again = <$set>::decode(declared, &serde_json::to_vec(&message).unwrap()).unwrap();
                    assert_eq!(again, message);
                    assert_eq!(message.message_type(), *declared);
                    assert_eq!(message.subject().split('.').count(), 4);
                    assert!(OrderId::parse(message.key()).is_ok());
                }
                Err(refused @ DecodeError::Body { .. }) => assert!(refused.to_string().contains(declared)),
                Err(refused) => panic!("{refused}"),
            }
        }
    )+ };
}

/// Any bytes are a message or a query that reads the same again, or are refused.
pub(crate) fn body(body: &[u8]) {
    messages_are_read_again!(
        body,
        OrderCommand,
        OrderEvent,
        OrderTimer,
        InventoryCommand,
        InventoryEvent,
        AccountCommand,
        AccountEvent,
        PaymentEvent
    );
    json_is_read_again::<ListOrders>(body);
    json_is_read_again::<ListAccounts>(body);
    json_is_read_again::<ListNotifications>(body);
    json_is_read_again::<ListProducts>(body);
    json_is_read_again::<Amount>(body);
    json_is_read_again::<Quantity>(body);
}

/// Any text is an id exactly where the pattern of ids says so; as a text of an account it reads the same again and
/// holds no number of a card, or is refused.
pub(crate) fn text(text: &str) {
    let allowed = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-');
    let is_id = (1..=64).contains(&text.chars().count()) && text.chars().all(allowed);
    assert_eq!(OrderId::parse(text).is_ok(), is_id);
    assert_eq!(CustomerId::parse(text).is_ok(), is_id);
    assert_eq!(ProductId::parse(text).is_ok(), is_id);

    let json = serde_json::to_vec(text).unwrap();
    json_is_read_again::<OrderId>(&json);
    json_is_read_again::<Line>(&json);
    json_is_read_again::<Phone>(&json);
    json_is_read_again::<Email>(&json);
    json_is_read_again::<CardToken>(&json);
    json_is_read_again::<LastFour>(&json);
    json_is_read_again::<Expiry>(&json);
    for taken in [Line::parse(text).map(String::from).ok(), CardToken::parse(text).map(String::from).ok()] {
        assert!(taken.is_none_or(|taken| !looks_like_a_card_number(&taken)));
    }
}
