//! The system that an operator works on, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_nats::jetstream::consumer;
use choreography::topology::StreamSpec;
use choreography::{Kind, MessageInfo, Topology};

/// The declarations of a system of services.
#[derive(Debug, Clone)]
pub struct System {
    pub(crate) topology: Topology,
    /// The services that publish the events of a context, by context.
    producers: BTreeMap<String, BTreeSet<String>>,
    /// The states of an aggregate that are not terminal, by service.
    pub(crate) open_states: BTreeMap<String, Vec<String>>,
    pub(crate) once_per_key: Vec<String>,
    pub(crate) provision_command: String,
    /// The consumers of projections, by service.
    pub(crate) projecting: BTreeMap<String, BTreeSet<String>>,
}

impl System {
    /// Declares a system by its streams and consumers.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            producers: BTreeMap::new(),
            open_states: BTreeMap::new(),
            once_per_key: Vec::new(),
            provision_command: "Topology::provision".to_owned(),
            projecting: BTreeMap::new(),
        }
    }

    /// Adds messages: their producers can restore a stream. Without messages, any consumer may be a producer.
    #[must_use]
    pub fn messages<'a>(mut self, messages: impl IntoIterator<Item = &'a MessageInfo>) -> Self {
        for event in messages.into_iter().filter(|info| info.kind == Kind::Event) {
            self.producers.entry(event.context.to_owned()).or_default().insert(event.producer.to_owned());
        }
        self
    }

    /// Adds the states in which an aggregate of a service waits for messages. Timelines report it as stalled if none is
    /// under way.
    #[must_use]
    pub fn open_states<'a>(mut self, service: &str, states: impl IntoIterator<Item = &'a str>) -> Self {
        self.open_states.entry(service.to_owned()).or_default().extend(states.into_iter().map(str::to_owned));
        self
    }

    /// Adds subjects without the key that are published at most once per key, such as `order.event.placed`; at most 50.
    /// [`once`](crate::checks::once) checks it.
    #[must_use]
    pub fn once_per_key<'a>(mut self, subjects: impl IntoIterator<Item = &'a str>) -> Self {
        self.once_per_key.extend(subjects.into_iter().map(str::to_owned));
        self
    }

    /// Adds a service with its [projections](choreography::projection), by the names of their consumers.
    #[must_use]
    pub fn projections<'a>(mut self, service: &str, consumers: impl IntoIterator<Item = &'a str>) -> Self {
        let known = self.projecting.entry(service.to_owned()).or_default();
        known.extend(consumers.into_iter().map(str::to_owned));
        self
    }

    /// Sets the command that creates streams and consumers. Messages for operators name it.
    #[must_use]
    pub fn provision_command(mut self, command: &str) -> Self {
        command.clone_into(&mut self.provision_command);
        self
    }

    /// Returns the services that consume a stream, by name.
    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.topology.consumers.iter().map(|consumer| consumer.name.as_str()).collect()
    }

    /// Returns the durable consumers of a stream that belong to no service of the topology. Those of live feeds are not
    /// durable.
    pub(crate) fn unknown_consumers(&self, stream: &str, infos: &[consumer::Info]) -> Vec<UnknownConsumer> {
        let is_known = |info: &consumer::Info| {
            let projects = || self.projecting.values().any(|consumers| consumers.contains(&info.name));
            projects() || self.topology.consumers.iter().any(|spec| spec.stream == stream && spec.name == info.name)
        };
        let unknown = infos.iter().filter(|info| info.config.durable_name.is_some() && !is_known(info));
        let lag = |info: &consumer::Info| UnknownConsumer {
            name: info.name.clone(),
            stream: stream.to_owned(),
            pending: info.num_pending,
            unacknowledged: info.num_ack_pending,
        };
        unknown.map(lag).collect()
    }

    /// Returns the services whose outboxes hold the messages of a stream.
    pub(crate) fn producers(&self, stream: &StreamSpec) -> BTreeSet<&str> {
        let mut services = BTreeSet::new();
        for subject in &stream.subjects {
            let mut tokens = subject.split('.');
            match (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default()) {
                (_, "command") | ("dead-letter-deleted", _) => {}
                // The producer of a context's events also sets its timers.
                (context, _) if context != "dead-letter" && !self.producers.is_empty() => {
                    services.extend(self.producers.get(context).into_iter().flatten().map(String::as_str));
                }
                _ => services.extend(self.services()),
            }
        }
        services
    }
}

/// A durable consumer that belongs to no service of the topology, such as that of a service which was added to a running
/// system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownConsumer {
    /// Its name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// Messages that are not delivered yet.
    pub pending: u64,
    /// Messages that are delivered and not acknowledged.
    pub unacknowledged: usize,
}

impl fmt::Display for UnknownConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, stream, pending, unacknowledged } = self;
        write!(
            f,
            "the consumer {name} of {stream} belongs to no service of the topology: {pending} messages pending, \
             {unacknowledged} unacknowledged"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use choreography::{Event, Message};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize, Event)]
    #[message(context = "booking", name = "made", version = 1, key = booking, producer = "booking-service")]
    struct BookingMade {
        booking: String,
    }

    fn hotel() -> System {
        let stream = |name: &str, subjects: &[&str]| {
            serde_json::json!({
                "name": name, "description": "", "subjects": subjects, "maxAgeSeconds": 60,
                "duplicateWindowSeconds": 60, "maxMessageSize": 1024
            })
        };
        let topology = serde_json::json!({
            "streams": [
                stream("COMMANDS", &["booking.command.>"]),
                stream("EVENTS", &["booking.event.>"]),
                stream("DEAD_LETTERS", &["dead-letter.>", "dead-letter-deleted.>"]),
            ],
            "consumers": [{ "stream": "EVENTS", "name": "mail-service", "filterSubjects": ["booking.event.>"] }],
        });
        System::new(Topology::parse(&topology.to_string()).unwrap())
    }

    fn producers(system: &System) -> Vec<Vec<&str>> {
        system.topology.streams.iter().map(|stream| system.producers(stream).into_iter().collect()).collect()
    }

    #[test]
    fn declared_producers_restore_events_consumers_restore_dead_letters_and_nobody_restores_commands() {
        let system = hotel().messages([&BookingMade::INFO]);
        assert_eq!(producers(&system), [vec![], vec!["booking-service"], vec!["mail-service"]]);
    }

    #[test]
    fn any_consumer_may_restore_events_whose_producers_are_not_declared() {
        assert_eq!(producers(&hotel()), [vec![], vec!["mail-service"], vec!["mail-service"]]);
    }
}
