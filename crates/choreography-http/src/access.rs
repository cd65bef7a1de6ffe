//! The permissions of a gateway at nats-server.
//!
//! ```
//! use choreography::{Command, Declaration, Topology};
//! use choreography_http::access;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Command)]
//! #[message(context = "booking", name = "book", version = 1, key = booking_id, producer = "front-desk")]
//! struct BookRoom {
//!     booking_id: String,
//! }
//!
//! let declaration = Declaration::new("front-desk")
//!     .publishes::<BookRoom>()
//!     .requests("booking.query.get.*")
//!     .subscribes("booking.event.>");
//! let streams = r#"{"streams": [{"name": "COMMANDS", "description": "", "subjects": ["booking.command.>"],
//!     "maxAgeSeconds": 604800, "duplicateWindowSeconds": 120, "maxMessageSize": 65536}]}"#;
//! let declaration = access::of_gateway(declaration, &Topology::parse(streams).unwrap());
//! ```

use choreography::{Declaration, Topology, dead_letter};

/// Adds to the declaration of a gateway what this crate needs: the state of the streams for admission
/// ([`Streams`](crate::streams::Streams)), idempotency keys, and the outcome of commands in the stream of events.
#[must_use]
pub fn of_gateway(declaration: Declaration, topology: &Topology) -> Declaration {
    let names = || topology.streams.iter().map(|stream| stream.name.as_str());
    let keys = || topology.buckets.iter().map(|bucket| bucket.name.as_str());
    let infos = names().map(|stream| format!("$JS.API.STREAM.INFO.{stream}"));
    let key_infos = keys().map(|bucket| format!("$JS.API.STREAM.INFO.KV_{bucket}"));
    let entries =
        keys().flat_map(|bucket| [format!("$KV.{bucket}.>"), format!("$JS.API.DIRECT.GET.KV_{bucket}.>")]);
    // The positions of consumers, and the age of the oldest message that waits for one. Dead letters are for operators.
    let consumed: Vec<&str> = names().filter(|name| *name != dead_letter::STREAM_NAME).collect();
    let lists = consumed.iter().map(|stream| format!("$JS.API.CONSUMER.LIST.{stream}"));
    let requests = infos.chain(key_infos).chain(entries).chain(lists).chain(["$JS.API.INFO".to_owned()]);
    let declaration = requests.fold(declaration, Declaration::requests);
    consumed.iter().fold(declaration, |declaration, stream| declaration.reads(*stream))
}
