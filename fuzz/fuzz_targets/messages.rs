//! Bodies of messages and queries: each reads the same again, or is refused.
#![no_main]

use contracts::account::{AccountCommand, AccountEvent};
use contracts::inventory::{InventoryCommand, InventoryEvent};
use contracts::order::{OrderCommand, OrderEvent, OrderTimer};
use contracts::payment::PaymentEvent;
use contracts::query::{ListAccounts, ListNotifications, ListOrders, ListProducts};
use libfuzzer_sys::fuzz_target;

macro_rules! messages_read {
    ($body:expr, $($set:ty),+) => { $(
        for declared in <$set>::TYPES {
            if let Ok(message) = <$set>::decode(declared, $body) {
                let written = serde_json::to_vec(&message).expect("a message is JSON");
                assert_eq!(<$set>::decode(declared, &written).expect("what was written is read"), message);
                assert_eq!(message.subject().split('.').count(), 4);
            }
        }
    )+ };
}

macro_rules! queries_read {
    ($body:expr, $($query:ty),+) => { $(
        if let Ok(query) = serde_json::from_slice::<$query>($body) {
            let written = serde_json::to_vec(&query).expect("a query is JSON");
            assert_eq!(serde_json::from_slice::<$query>(&written).expect("what was written is read"), query);
        }
    )+ };
}

fuzz_target!(|body: &[u8]| {
    messages_read!(
        body, OrderCommand, OrderEvent, OrderTimer, InventoryCommand, InventoryEvent, AccountCommand, AccountEvent,
        PaymentEvent
    );
    queries_read!(body, ListOrders, ListAccounts, ListNotifications, ListProducts);
});
