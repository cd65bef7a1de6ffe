//! The AsyncAPI document (3.0): each subject as a channel, with its producer, consumers, and message.
//!
//! Generated from the [`catalogue`](crate::catalogue) and the topology into the file `asyncapi.yaml`.

use choreography::{Kind, MessageInfo};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::catalogue::{Consumers, EXAMPLES, messages};
use crate::schema::settings;
use crate::topology::{COMMANDS, EVENTS, TIMERS};

/// The description of the whole document.
const DESCRIPTION: &str = "Services that never call each other: a gateway turns requests into commands, services react to \
    commands and to each other's events. Subjects are `<context>.<kind>.<name>.<key>`, with the business id of the \
    message as the key. Messages are CloudEvents 1.0 in binary mode: the attributes are headers, the body is JSON. Each \
    message is delivered at least once and in any order; consumers drop duplicates by `ce-id`.";

/// Generates the document.
///
/// # Errors
///
/// If the declared topology or the examples cannot be parsed.
pub fn document() -> Result<Value, serde_json::Error> {
    let consumers = Consumers::declared()?;
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES)?;
    let settings = settings(SchemaSettings::draft07()).with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let (mut channels, mut operations, mut described) = (Map::new(), Map::new(), Map::new());
    for message in messages() {
        let (id, name) = (channel_id(message), message.message_type);
        channels.insert(id.clone(), channel(message));
        described.insert(name.to_owned(), message_of(message, examples.get(name), &mut generator));
        for service in consumers.of(message) {
            operations.insert(format!("{service}.receive.{id}"), operation("receive", service, message));
        }
        let producer = message.producer;
        operations.insert(format!("{producer}.send.{id}"), operation("send", producer, message));
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("CloudEventHeaders".to_owned(), headers());
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sample shop", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
        },
        "defaultContentType": "application/json",
        "servers": {"local": {
            "host": "127.0.0.1:4222", "protocol": "nats",
            "description": "nats-server with JetStream; each service has its own user."
        }},
        "channels": channels,
        "operations": operations,
        "components": {"messages": described, "schemas": schemas}
    }))
}

/// Returns the subject without the key, such as `order.event.placed`.
fn channel_id(message: &MessageInfo) -> String {
    message.filter.trim_end_matches(".*").to_owned()
}

/// Returns the stream that holds a kind of message.
fn stream(message: &MessageInfo) -> &'static str {
    match message.kind {
        Kind::Command => COMMANDS,
        Kind::Event => EVENTS,
        Kind::Timer => TIMERS,
    }
}

fn channel(message: &MessageInfo) -> Value {
    let name = message.message_type;
    json!({
        "address": format!("{}.{{key}}", channel_id(message)),
        "title": message.description,
        "parameters": {"key": {"description": "The business id of the message."}},
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        "tags": [{"name": message.context}, {"name": message.kind.as_str()}],
        "x-stream": stream(message),
    })
}

fn operation(action: &str, service: &str, message: &MessageInfo) -> Value {
    let id = channel_id(message);
    let mut operation = json!({
        "action": action,
        "summary": message.description,
        "channel": {"$ref": format!("#/channels/{id}")},
        "messages": [{"$ref": format!("#/channels/{id}/messages/{}", message.message_type)}],
        "tags": [{"name": service}],
    });
    if action == "receive" {
        // One durable pull consumer per stream, named like the service and shared by all of its instances.
        operation["bindings"] = json!({"nats": {"queue": service, "bindingVersion": "0.1.0"}});
        operation["x-consumer"] = json!({"stream": stream(message), "durable": service});
    }
    operation
}

fn message_of(message: &MessageInfo, example: Option<&Value>, generator: &mut SchemaGenerator) -> Value {
    let source = format!("/{}", message.producer);
    let mut described = json!({
        "name": message.message_type,
        "title": message.description,
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/ce-correlationid"},
        "headers": {"allOf": [
            {"$ref": "#/components/schemas/CloudEventHeaders"},
            {"type": "object", "properties": {
                "ce-type": {"const": message.message_type}, "ce-source": {"const": source}
            }}
        ]},
        "payload": message.schema.map(|schema| (schema.part)(generator)),
    });
    if let Some(example) = example {
        described["examples"] = json!([{"name": message.name, "payload": example}]);
    }
    described
}

fn headers() -> Value {
    let uuid = |description: &str| json!({"type": "string", "format": "uuid", "description": description});
    json!({
        "type": "object",
        "required": [
            "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-correlationid", "Nats-Msg-Id"
        ],
        "properties": {
            "ce-specversion": {"const": "1.0"},
            "ce-id": uuid("The id of the message; repeated publications have the same id."),
            "ce-type": {"type": "string", "description": "<context>.<name>.v<version>"},
            "ce-source": {"type": "string", "description": "The producer."},
            "ce-subject": {"type": "string", "description": "The business id of the message."},
            "ce-time": {"type": "string", "format": "date-time", "description": "When the message was created."},
            "ce-correlationid": uuid("The id of the first message of the flow."),
            "ce-causationid": uuid("The id of the message that caused this one; commands of clients have none."),
            "ce-aggregateversion": {
                "type": "string", "pattern": "^[0-9]+$",
                "description": "The version of the aggregate after this event; events only."
            },
            "Nats-Msg-Id": uuid("Equal to ce-id; the stream drops duplicates by it. A timer that is due has none."),
            "traceparent": {"type": "string", "description": "W3C trace context, if there is one."}
        }
    })
}
