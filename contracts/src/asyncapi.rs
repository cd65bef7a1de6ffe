//! The AsyncAPI document (3.0): every subject as a channel, who sends to it and who receives from it, what is said there.
//!
//! Made of the [`catalogue`](crate::catalogue) and the topology; the file `asyncapi.yaml` is this as text.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::catalogue::{Consumers, Declared, EXAMPLES, messages};
use crate::schema::settings;
use crate::topology::{COMMANDS, EVENTS, TIMERS};

/// What the document says about the whole.
const DESCRIPTION: &str = "Services that never call each other: a gateway turns requests into commands, services react to \
    commands and to each other's events. Subjects are `<context>.<kind>.<name>.<key>`, the key being the business id that the \
    message is about. Messages are CloudEvents 1.0 in binary mode: the attributes are headers, the body is JSON. Every \
    message comes at least once and in any order; who receives it drops what it knows by `ce-id`.";

/// Makes the document.
///
/// # Errors
///
/// Where the declared topology or the examples cannot be read.
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
        if let Some(producer) = message.producer() {
            operations.insert(format!("{producer}.send.{id}"), operation("send", producer, message));
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("CloudEventHeaders".to_owned(), headers());
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Store", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
        },
        "defaultContentType": "application/json",
        "servers": {"local": {
            "host": "127.0.0.1:4222", "protocol": "nats",
            "description": "nats-server with JetStream; each service has a user of its own."
        }},
        "channels": channels,
        "operations": operations,
        "components": {"messages": described, "schemas": schemas}
    }))
}

/// `order.event.placed`
fn channel_id(message: &Declared) -> String {
    message.filter.trim_end_matches(".*").to_owned()
}

/// Returns the stream that holds a kind of message.
fn stream(message: &Declared) -> &'static str {
    match message.kind {
        "command" => COMMANDS,
        "event" => EVENTS,
        _ => TIMERS,
    }
}

fn channel(message: &Declared) -> Value {
    let name = message.message_type;
    json!({
        "address": format!("{}.{{key}}", channel_id(message)),
        "title": message.meaning(),
        "parameters": {"key": {"description": "The business id that the message is about."}},
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        "tags": [{"name": message.context}, {"name": message.kind}],
        "x-stream": stream(message),
    })
}

fn operation(action: &str, service: &str, message: &Declared) -> Value {
    let id = channel_id(message);
    let mut operation = json!({
        "action": action,
        "summary": message.meaning(),
        "channel": {"$ref": format!("#/channels/{id}")},
        "messages": [{"$ref": format!("#/channels/{id}/messages/{}", message.message_type)}],
        "tags": [{"name": service}],
    });
    if action == "receive" {
        // One durable pull consumer a stream, called like the service, shared by all of its instances.
        operation["bindings"] = json!({"nats": {"queue": service, "bindingVersion": "0.1.0"}});
        operation["x-consumer"] = json!({"stream": stream(message), "durable": service});
    }
    operation
}

fn message_of(message: &Declared, example: Option<&Value>, generator: &mut SchemaGenerator) -> Value {
    let source = message.producer().map(|producer| format!("/{producer}"));
    let mut described = json!({
        "name": message.message_type,
        "title": message.meaning(),
        "contentType": "application/json",
        "correlationId": {"location": "$message.header#/ce-correlationid"},
        "headers": {"allOf": [
            {"$ref": "#/components/schemas/CloudEventHeaders"},
            {"type": "object", "properties": {
                "ce-type": {"const": message.message_type}, "ce-source": {"const": source}
            }}
        ]},
        "payload": (message.subschema)(generator),
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
            "ce-id": uuid("The id of the message; the same again where it is said again."),
            "ce-type": {"type": "string", "description": "<context>.<name>.v<version>"},
            "ce-source": {"type": "string", "description": "Who says it."},
            "ce-subject": {"type": "string", "description": "The business id it is about."},
            "ce-time": {"type": "string", "format": "date-time", "description": "When it was said."},
            "ce-correlationid": uuid("The id of the message that began the flow."),
            "ce-causationid": uuid("The id of the message this one answers; commands from outside have none."),
            "ce-aggregateversion": {
                "type": "string", "pattern": "^[0-9]+$",
                "description": "The version of what it is about that this event made; events only."
            },
            "Nats-Msg-Id": uuid("ce-id again, by which the stream drops repetitions. A timer that is due has none."),
            "traceparent": {"type": "string", "description": "W3C trace context, where there is one."}
        }
    })
}
