//! The invariants of parsing. The properties here and the targets of `tools/fuzz/` check the same ones.

use api_gateway::test_entry_points::{BODIES, OPERATOR_BODIES, PARAMETERS};
use choreography::Messages as _;
use contracts::account::{AccountCommand, looks_like_a_card_number};
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use serde_json::{Value, json};

/// Any text is a parameter whose canonical form parses to itself, or is refused with a reason.
pub(crate) fn parameter(text: &str) {
    for (name, read) in PARAMETERS {
        match read(text) {
            // Headers that may be ignored.
            Ok(written) if written.is_empty() => {
                assert!(["traceparent", "Prefer"].contains(&name), "{name} {text:?}")
            }
            Ok(written) => assert_eq!(read(&written), Ok(written), "{name} {text:?}"),
            Err(refused) => assert!(refused.starts_with("must "), "{name} {text:?} {refused:?}"),
        }
    }
}

/// Any bytes are a body whose command its service can decode, or a problem with error locations and without a card
/// number.
pub(crate) fn body(body: &[u8]) {
    for (message_type, read) in BODIES {
        match read(body) {
            Ok(command) => assert_eq!(reencoded(message_type, &command), command),
            Err(problem) => is_valid_problem(&problem),
        }
    }
    for read in OPERATOR_BODIES {
        if let Err(problem) = read(body) {
            is_valid_problem(&problem);
        }
    }
}

/// Checks the response to a body that is refused.
fn is_valid_problem(problem: &str) {
    assert!(!looks_like_a_card_number(problem), "{problem}");
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert!(matches!(problem["status"].as_u64(), Some(400 | 422)), "{problem}");
    let errors = problem["errors"].as_array().unwrap();
    let named = |error: &Value| error["pointer"].is_string() && error["detail"] != json!("");
    assert!(!errors.is_empty() && errors.iter().all(named), "{problem}");
}

/// Decodes a command as its service does, and encodes it again.
fn reencoded(message_type: &str, command: &[u8]) -> Vec<u8> {
    let context = message_type.split('.').next().unwrap();
    let written = match context {
        "order" => serde_json::to_vec(&OrderCommand::decode(message_type, command).unwrap()),
        "inventory" => serde_json::to_vec(&InventoryCommand::decode(message_type, command).unwrap()),
        _ => serde_json::to_vec(&AccountCommand::decode(message_type, command).unwrap()),
    };
    written.unwrap()
}
