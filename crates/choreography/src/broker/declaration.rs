//! The declaration of a service: the messages that it consumes and publishes, as types.
//!
//! Everything that must agree with it is derived from it: the filters of its consumers, the permissions of its user in
//! `nats.conf`, and the [catalogue](crate::catalogue) of a system. The topology has what types cannot express, such as streams and their limits.
//!
//! ```
//! use choreography::{Command, Declaration, Event, Messages, Topology};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Command)]
//! #[message(context = "room", name = "book", version = 1, key = room_id, producer = "front-desk")]
//! struct BookRoom {
//!     room_id: String,
//! }
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[message(context = "room", name = "booked", version = 1, key = room_id, producer = "room-service")]
//! struct RoomBooked {
//!     room_id: String,
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! let rooms = Declaration::new("room-service").consumes::<BookRoom>().publishes::<RoomBooked>();
//! let topology = Topology::parse(
//!     r#"{"streams": [
//!         {"name": "COMMANDS", "description": "", "subjects": ["room.command.>"], "maxAgeSeconds": 604800,
//!          "duplicateWindowSeconds": 120, "maxMessageSize": 65536},
//!         {"name": "EVENTS", "description": "", "subjects": ["room.event.>"], "maxAgeSeconds": 604800,
//!          "duplicateWindowSeconds": 120, "maxMessageSize": 65536},
//!         {"name": "DEAD_LETTERS", "description": "", "subjects": ["dead-letter.>"], "maxAgeSeconds": 2592000,
//!          "duplicateWindowSeconds": 120, "maxMessageSize": 131072}
//!     ]}"#,
//! )?;
//! let consumers = rooms.consumers(&topology)?;
//! assert_eq!((consumers[0].stream.as_str(), &*consumers[0].filter_subjects), ("COMMANDS", &["room.command.>".to_owned()][..]));
//! println!("{}", rooms.user(&topology)?);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;

use crate::broker::topology::{ConsumerSpec, StreamSpec, Topology, TopologyError, subject_matches};
use crate::wire::message::{Kind, MessageInfo, Messages};

/// The messages that a service consumes and publishes, and its queries.
#[derive(Debug, Clone)]
pub struct Declaration {
    service: &'static str,
    consumed: Vec<MessageInfo>,
    published: Vec<MessageInfo>,
    pub(super) subscribed: Vec<String>,
    pub(super) requests: Vec<String>,
    pub(super) read_streams: Vec<String>,
    projections: Vec<ProjectionSpec>,
}

/// A projection in the declaration of a service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProjectionSpec {
    /// Its consumer: its name with its version, such as `order-search-v1`.
    pub consumer: String,
    /// The events that change it.
    pub messages: &'static [MessageInfo],
    /// The contexts of these events.
    pub contexts: Vec<&'static str>,
    /// The contexts whose history it reads from the event store of the owning service.
    pub event_stores: &'static [&'static str],
}

impl ProjectionSpec {
    /// Declares a projection: its name and version, and the contexts with an event store.
    #[must_use]
    pub fn new<M: Messages>(name: &str, version: u32, event_stores: &'static [&'static str]) -> Self {
        let mut contexts: Vec<&'static str> = M::MESSAGES.iter().map(|info| info.context).collect();
        contexts.sort_unstable();
        contexts.dedup();
        Self { consumer: format!("{name}-v{version}"), messages: M::MESSAGES, contexts, event_stores }
    }

    /// Returns the subjects that its consumer reads: all events of its contexts, so that a missing one shows.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        self.contexts.iter().map(|context| format!("{context}.event.>")).collect()
    }
}

/// Why a declaration does not match the topology.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationError {
    /// The topology cannot be read.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// No stream stores a subject.
    #[error("{service}: no stream of the topology stores {subject}; add the subject to a stream")]
    NoStream {
        /// The service.
        service: &'static str,
        /// The subject, with wildcards.
        subject: String,
    },
    /// The stream of a timer does not accept schedules.
    #[error("{service}: stream {stream} stores {subject} and accepts no schedules; set its `schedules` to true")]
    NoSchedules {
        /// The service.
        service: &'static str,
        /// The stream.
        stream: String,
        /// The subject of the timer.
        subject: String,
    },
    /// A message is declared with another producer.
    #[error(
        "{service}: {message_type} is declared with the producer {producer}, and only its producer publishes it"
    )]
    Producer {
        /// The service.
        service: &'static str,
        /// The type of the message.
        message_type: &'static str,
        /// The producer in the declaration of the message.
        producer: &'static str,
    },
    /// The topology lists other consumers for the service.
    #[error("{service}: the consumers of the topology differ from the declaration, which needs {expected}")]
    Consumers {
        /// The service.
        service: &'static str,
        /// The streams with their filters.
        expected: String,
    },
    /// A projection reads messages that are no events, or events of several streams.
    #[error("{service}: the projection {projection} must read events, from one stream")]
    Projection {
        /// The service.
        service: &'static str,
        /// The name of the projection with its version.
        projection: String,
    },
    /// The handler's messages are not the declared ones.
    #[error(
        "{service}: its handler consumes {handled}, its declaration {declared}; declare the messages of the handler"
    )]
    Handler {
        /// The service.
        service: &'static str,
        /// The types that the handler consumes.
        handled: String,
        /// The declared types.
        declared: String,
    },
}

impl Declaration {
    /// Declares a service that consumes and publishes nothing yet. The name is that of its user, its consumers, and the
    /// source of its messages.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            consumed: Vec::new(),
            published: Vec::new(),
            subscribed: Vec::new(),
            requests: Vec::new(),
            read_streams: Vec::new(),
            projections: Vec::new(),
        }
    }

    /// Adds messages that the service consumes: a message, or a set of them.
    #[must_use]
    pub fn consumes<M: Messages>(mut self) -> Self {
        self.consumed.extend(M::MESSAGES);
        self
    }

    /// Adds messages that the service publishes: a message, or a set of them.
    #[must_use]
    pub fn publishes<M: Messages>(mut self) -> Self {
        self.published.extend(M::MESSAGES);
        self
    }

    /// Adds a subject of queries that the service replies to, such as `order.query.>`.
    #[must_use]
    pub fn replies_to(self, subject: impl Into<String>) -> Self {
        self.subscribes(subject)
    }

    /// Adds a subject of messages that it receives without a consumer, such as events that a gateway waits for.
    #[must_use]
    pub fn subscribes(mut self, subject: impl Into<String>) -> Self {
        self.subscribed.push(subject.into());
        self
    }

    /// Adds a subject of queries that the service sends to others, such as `account.query.get.*`.
    #[must_use]
    pub fn requests(mut self, subject: impl Into<String>) -> Self {
        self.requests.push(subject.into());
        self
    }

    /// Adds a stream that the service reads without a consumer, by [direct gets](crate::direct).
    #[must_use]
    pub fn reads(mut self, stream: impl Into<String>) -> Self {
        self.read_streams.push(stream.into());
        self
    }

    /// Adds a projection.
    #[must_use]
    pub fn projects(mut self, projection: ProjectionSpec) -> Self {
        if self.projections.iter().all(|known| known.consumer != projection.consumer) {
            self.projections.push(projection);
        }
        self
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Returns the messages that the service consumes.
    #[must_use]
    pub fn consumed(&self) -> &[MessageInfo] {
        &self.consumed
    }

    /// Returns the messages that the service publishes.
    #[must_use]
    pub fn published(&self) -> &[MessageInfo] {
        &self.published
    }

    /// Returns its projections.
    #[must_use]
    pub fn projections(&self) -> &[ProjectionSpec] {
        &self.projections
    }

    /// Returns the stream that a projection reads.
    ///
    /// # Errors
    ///
    /// [`DeclarationError`]: a message is no event, or no single stream stores all of them.
    pub fn projection_stream(
        &self,
        projection: &ProjectionSpec,
        topology: &Topology,
    ) -> Result<String, DeclarationError> {
        let mut streams = Vec::new();
        for filter in projection.filters() {
            streams.push(topology.stream_of(self.service, &filter)?.name.clone());
        }
        let are_events = projection.messages.iter().all(|info| info.kind == Kind::Event);
        streams.dedup();
        match (streams.pop(), streams.is_empty() && are_events) {
            (Some(stream), true) => Ok(stream),
            _ => {
                Err(DeclarationError::Projection { service: self.service, projection: projection.consumer.clone() })
            }
        }
    }

    /// Returns its durable consumers, one per stream.
    ///
    /// Events are filtered by type. Commands and timers have one filter per context: the service is the only consumer
    /// of that context, and an unknown one must become a dead letter.
    ///
    /// # Errors
    ///
    /// [`DeclarationError::NoStream`].
    pub fn consumers(&self, topology: &Topology) -> Result<Vec<ConsumerSpec>, DeclarationError> {
        let mut consumers: Vec<ConsumerSpec> = Vec::new();
        for info in &self.consumed {
            let filter = match info.kind {
                Kind::Event => info.filter.to_owned(),
                Kind::Command | Kind::Timer => format!("{}.{}.>", info.context, info.kind),
            };
            let stream = topology.stream_of(self.service, &filter)?;
            let index = consumers.iter().position(|known| known.stream == stream.name).unwrap_or_else(|| {
                consumers.push(ConsumerSpec {
                    stream: stream.name.clone(),
                    name: self.service.to_owned(),
                    filter_subjects: Vec::new(),
                });
                consumers.len() - 1
            });
            if let Some(consumer) = consumers.get_mut(index)
                && !consumer.filter_subjects.contains(&filter)
            {
                consumer.filter_subjects.push(filter);
            }
        }
        Ok(consumers)
    }

    /// Checks the declaration against the topology, and returns the consumers of the service.
    ///
    /// # Errors
    ///
    /// [`DeclarationError`].
    pub fn check(&self, topology: &Topology) -> Result<Vec<ConsumerSpec>, DeclarationError> {
        let consumers = self.consumers(topology)?;
        self.published_streams(topology)?;
        for projection in &self.projections {
            self.projection_stream(projection, topology)?;
        }
        topology.stream_of(self.service, &format!("dead-letter.{}.>", self.service))?;
        let listed: Vec<&ConsumerSpec> =
            topology.consumers.iter().filter(|consumer| consumer.name == self.service).collect();
        if !listed.is_empty() && !are_equal(&listed, &consumers) {
            let expected: Vec<String> = consumers
                .iter()
                .map(|consumer| format!("{} ({})", consumer.stream, consumer.filter_subjects.join(", ")))
                .collect();
            return Err(DeclarationError::Consumers { service: self.service, expected: expected.join("; ") });
        }
        Ok(consumers)
    }

    /// Returns the streams that store what the service publishes, with its subjects.
    ///
    /// # Errors
    ///
    /// [`DeclarationError`]: a message has another producer, or no stream.
    pub(crate) fn published_streams<'a>(
        &self,
        topology: &'a Topology,
    ) -> Result<BTreeMap<&'a str, Vec<String>>, DeclarationError> {
        let mut streams: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for info in &self.published {
            if info.producer != self.service {
                return Err(DeclarationError::Producer {
                    service: self.service,
                    message_type: info.message_type,
                    producer: info.producer,
                });
            }
            let stream = topology.stream_of(self.service, info.filter)?;
            if info.kind == Kind::Timer && !stream.schedules {
                return Err(DeclarationError::NoSchedules {
                    service: self.service,
                    stream: stream.name.clone(),
                    subject: info.filter.to_owned(),
                });
            }
            streams.entry(&stream.name).or_default().push(info.filter.to_owned());
        }
        Ok(streams)
    }
}

/// Returns the subject on which the owning service of a context serves its event store.
pub(crate) fn history_subject(context: &str) -> String {
    format!("{context}.query.events")
}

impl Topology {
    /// Returns the stream that stores a subject of a service.
    pub(crate) fn stream_of(&self, service: &'static str, subject: &str) -> Result<&StreamSpec, DeclarationError> {
        let stores = |stream: &&StreamSpec| stream.subjects.iter().any(|stored| subject_matches(stored, subject));
        let no_stream = || DeclarationError::NoStream { service, subject: subject.to_owned() };
        self.streams.iter().find(stores).ok_or_else(no_stream)
    }

    /// Adds the consumers of a service, derived from its declaration, unless the topology lists them.
    ///
    /// # Errors
    ///
    /// [`DeclarationError`].
    pub fn with(mut self, declaration: &Declaration) -> Result<Self, DeclarationError> {
        let consumers = declaration.check(&self)?;
        if self.streams_of(declaration.service()).is_empty() {
            self.consumers.extend(consumers);
        }
        Ok(self)
    }
}

/// Returns whether two lists have the same consumers with the same filters, in any order.
fn are_equal(listed: &[&ConsumerSpec], consumers: &[ConsumerSpec]) -> bool {
    let sorted = |spec: &ConsumerSpec| {
        let mut filters = spec.filter_subjects.clone();
        filters.sort_unstable();
        (spec.stream.clone(), filters)
    };
    let mut listed: Vec<_> = listed.iter().map(|spec| sorted(spec)).collect();
    let mut consumers: Vec<_> = consumers.iter().map(sorted).collect();
    listed.sort_unstable();
    consumers.sort_unstable();
    listed == consumers
}
