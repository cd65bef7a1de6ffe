//! The AsyncAPI document of the shop, generated into the file `asyncapi.yaml`.

use choreography::{DeclarationError, asyncapi};
use serde_json::{Map, Value, json};

use crate::declaration::{full_declarations, full_topology};

/// The description of the whole document.
const DESCRIPTION: &str = "Services that never call each other: a gateway turns requests into commands, services react to \
    commands and to each other's events. Subjects are `<context>.<kind>.<name>.<key>`, with the business id of the \
    message as the key. Messages are CloudEvents 1.0 in binary mode: the attributes are headers, the body is JSON. Each \
    message is delivered at least once and in any order; consumers drop duplicates by `ce-id`.";

/// Generates the document, with example bodies by message type.
///
/// # Errors
///
/// If a declaration does not match the topology.
pub fn document(examples: &Map<String, Value>) -> Result<Value, DeclarationError> {
    let info = json!({
        "title": "Sample shop", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION,
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
    });
    let mut document = asyncapi::document(info, &full_declarations(), &full_topology()?, examples)?;
    document["servers"] = json!({"local": {
        "host": "127.0.0.1:4222", "protocol": "nats",
        "description": "nats-server with JetStream; each service has its own user."
    }});
    Ok(document)
}
