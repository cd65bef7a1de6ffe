//! The AsyncAPI document (3.0) of a system: each subject as a channel, with its producer, consumers, projections, and
//! message.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::broker::catalogue::{CatalogueEntry, catalogue};
use crate::broker::declaration::{Declaration, DeclarationError};
use crate::broker::topology::Topology;
use crate::wire::message::{MessageInfo, schema};

/// Generates the document of these services.
///
/// `info` is the object of that name: `title` and `version`, and possibly more. `examples` has bodies by message type.
///
/// ```
/// # use choreography::{Declaration, Event, Topology, asyncapi};
/// # use serde::{Deserialize, Serialize};
/// # use serde_json::{Map, json};
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[message(context = "room", name = "booked", version = 1, key = room_id, producer = "room-service")]
/// # struct RoomBooked {
/// #     room_id: String,
/// # }
/// # fn main() -> anyhow::Result<()> {
/// # let topology = Topology::parse(
/// #     r#"{"streams": [{"name": "EVENTS", "description": "", "subjects": ["room.event.>"], "maxAgeSeconds": 604800,
/// #          "duplicateWindowSeconds": 120, "maxMessageSize": 65536}]}"#,
/// # )?;
/// let rooms = Declaration::new("room-service").publishes::<RoomBooked>();
/// let info = json!({"title": "Hotel", "version": "1.0.0"});
/// let document = asyncapi::document(info, &[rooms], &topology, &Map::new())?;
/// assert_eq!(document["operations"]["room-service.send.room.event.booked"]["action"], "send");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`DeclarationError::NoStream`].
pub fn document(
    info: Value,
    declarations: &[Declaration],
    topology: &Topology,
    examples: &Map<String, Value>,
) -> Result<Value, DeclarationError> {
    let settings = schema::settings(SchemaSettings::draft07()).with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for CatalogueEntry { message, consumers, projections } in &catalogue(declarations) {
        let (id, name, producer) = (channel_id(message), message.message_type, message.producer);
        let stream = topology.stream_of(producer, message.filter)?.name.as_str();
        channels.insert(id.clone(), channel(message, stream));
        messages.insert(name.to_owned(), described(message, examples.get(name), &mut generator));
        operations.insert(format!("{producer}.send.{id}"), operation("send", producer, message));
        // One durable pull consumer per stream, named like the service or the projection, and shared by all instances.
        let services = consumers.iter().map(|service| (*service, *service));
        let projections = projections.iter().map(|(service, consumer)| (*service, consumer.as_str()));
        for (service, consumer) in services.chain(projections) {
            let mut receive = operation("receive", service, message);
            receive["bindings"] = json!({"nats": {"queue": consumer, "bindingVersion": "0.1.0"}});
            receive["x-consumer"] = json!({"stream": stream, "durable": consumer});
            operations.insert(format!("{consumer}.receive.{id}"), receive);
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("CloudEventHeaders".to_owned(), headers());
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": info,
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas}
    }))
}

/// Returns the subject without the key, such as `order.event.placed`.
fn channel_id(message: &MessageInfo) -> String {
    message.filter.trim_end_matches(".*").to_owned()
}

fn channel(message: &MessageInfo, stream: &str) -> Value {
    let name = message.message_type;
    json!({
        "address": format!("{}.{{key}}", channel_id(message)),
        "title": message.description,
        "parameters": {"key": {"description": "The business id of the message."}},
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        "tags": [{"name": message.context}, {"name": message.kind.as_str()}],
        "x-stream": stream,
    })
}

fn operation(action: &str, service: &str, message: &MessageInfo) -> Value {
    let id = channel_id(message);
    json!({
        "action": action,
        "summary": message.description,
        "channel": {"$ref": format!("#/channels/{id}")},
        "messages": [{"$ref": format!("#/channels/{id}/messages/{}", message.message_type)}],
        "tags": [{"name": service}],
    })
}

fn described(message: &MessageInfo, example: Option<&Value>, generator: &mut SchemaGenerator) -> Value {
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
    });
    if let Some(schema) = message.schema {
        described["payload"] = (schema.part)(generator).to_value();
    }
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
            "ce-authtype": {
                "enum": ["user", "service_account", "system", "unauthenticated"],
                "description": "On whose behalf the flow runs; absent if callers do not sign in."
            },
            "ce-authid": {"type": "string", "maxLength": 128, "description": "The id of that user or service account."},
            "traceparent": {"type": "string", "description": "W3C trace context, if there is one."}
        }
    })
}
