//! Request bodies: each is a command that its service reads, or a problem that names a place.
#![no_main]

use api_gateway::outside::BODIES;
use contracts::account::AccountCommand;
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for (message_type, read) in BODIES {
        match read(body) {
            Ok(command) => {
                let read = match message_type.split('.').next() {
                    Some("order") => OrderCommand::decode(message_type, &command).map(drop),
                    Some("inventory") => InventoryCommand::decode(message_type, &command).map(drop),
                    _ => AccountCommand::decode(message_type, &command).map(drop),
                };
                read.expect("what the gateway takes a service reads");
            }
            Err(problem) => {
                let problem: serde_json::Value = serde_json::from_str(&problem).expect("a problem is JSON");
                assert!(matches!(problem["status"].as_u64(), Some(400 | 422)), "{problem}");
                assert!(problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{problem}");
            }
        }
    }
});
