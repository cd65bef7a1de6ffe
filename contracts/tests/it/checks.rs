//! Checks for input from clients, shared by the properties here and the targets of `tools/fuzz/`.

use std::fmt::Debug;

use choreography::{DecodeError, Messages, Publish};
use contracts::account::{
    AccountCommand, AccountEvent, CardToken, Email, Expiry, LastFour, Line, Phone, looks_like_a_card_number,
};
use contracts::identity::{IdentityCommand, IdentityEvent, ListRights, ListUsers, SignIn, SignInReply, SignUp};
use contracts::inventory::{InventoryCommand, InventoryEvent};
use contracts::order::{OrderCommand, OrderEvent, OrderTimer};
use contracts::payment::PaymentEvent;
use contracts::query::{ListAccounts, ListNotifications, ListProducts, SearchOrders};
use contracts::{Amount, CustomerId, OrderId, ProductId, Quantity};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value read from JSON must be equal after writing and reading it again.
fn json_round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), value);
    }
}

/// Decodes a body as each message of a set.
macro_rules! messages_round_trip {
    ($body:expr, $($set:ty),+) => { $(
        for declared in <$set>::MESSAGES.iter().map(|info| info.message_type) {
            match <$set>::decode(declared, $body) {
                Ok(message) => {
                    let again = <$set>::decode(declared, &serde_json::to_vec(&message).unwrap()).unwrap();
                    assert_eq!(again, message);
                    assert_eq!(message.message_type(), declared);
                    assert_eq!(message.subject().split('.').count(), 4);
                    assert!(OrderId::parse(message.key()).is_ok());
                }
                Err(refused @ DecodeError::Body { .. }) => assert!(refused.to_string().contains(declared)),
                Err(refused) => panic!("{refused}"),
            }
        }
    )+ };
}

/// Any bytes are a message or a query that round-trips, or are refused.
pub(crate) fn body(body: &[u8]) {
    messages_round_trip!(
        body,
        OrderCommand,
        OrderEvent,
        OrderTimer,
        InventoryCommand,
        InventoryEvent,
        AccountCommand,
        AccountEvent,
        PaymentEvent,
        IdentityCommand,
        IdentityEvent
    );
    json_round_trips::<SearchOrders>(body);
    json_round_trips::<ListAccounts>(body);
    json_round_trips::<ListNotifications>(body);
    json_round_trips::<ListProducts>(body);
    json_round_trips::<SignUp>(body);
    json_round_trips::<SignIn>(body);
    json_round_trips::<SignInReply>(body);
    json_round_trips::<ListRights>(body);
    json_round_trips::<ListUsers>(body);
    json_round_trips::<Amount>(body);
    json_round_trips::<Quantity>(body);
}

/// Any text is an id exactly if it matches the pattern of ids. As a text of an account it round-trips without a card
/// number, or is refused.
pub(crate) fn text(text: &str) {
    let allowed = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-');
    let is_id = (1..=64).contains(&text.chars().count()) && text.chars().all(allowed);
    assert_eq!(OrderId::parse(text).is_ok(), is_id);
    assert_eq!(CustomerId::parse(text).is_ok(), is_id);
    assert_eq!(ProductId::parse(text).is_ok(), is_id);

    let json = serde_json::to_vec(text).unwrap();
    json_round_trips::<OrderId>(&json);
    json_round_trips::<Line>(&json);
    json_round_trips::<Phone>(&json);
    json_round_trips::<Email>(&json);
    json_round_trips::<CardToken>(&json);
    json_round_trips::<LastFour>(&json);
    json_round_trips::<Expiry>(&json);
    for taken in [Line::parse(text).map(String::from).ok(), CardToken::parse(text).map(String::from).ok()] {
        assert!(taken.is_none_or(|taken| !looks_like_a_card_number(&taken)));
    }
}
