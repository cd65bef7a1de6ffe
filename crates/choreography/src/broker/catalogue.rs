//! The catalogue: every message of a system with its producer, consumers, and projections, from the declarations of the services.

use crate::broker::declaration::{Declaration, ProjectionSpec};
use crate::wire::message::MessageInfo;

/// A message and the services that consume it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The message; it names its producer.
    pub message: MessageInfo,
    /// The services that consume it, by name.
    pub consumers: Vec<&'static str>,
    /// The projections that read it, each with its service and the name of its consumer.
    pub projections: Vec<(&'static str, String)>,
}

/// Returns every message that these services publish or consume: commands first, then events, then timers.
#[must_use]
pub fn catalogue(declarations: &[Declaration]) -> Vec<CatalogueEntry> {
    let mut entries: Vec<CatalogueEntry> = Vec::new();
    // The producer's own declaration of a message precedes those of its consumers.
    let published = declarations.iter().flat_map(Declaration::published);
    for message in published.chain(declarations.iter().flat_map(Declaration::consumed)) {
        if entries.iter().all(|entry| entry.message.message_type != message.message_type) {
            let consumes = |service: &&Declaration| {
                service.consumed().iter().any(|consumed| consumed.message_type == message.message_type)
            };
            let mut consumers: Vec<_> = declarations.iter().filter(consumes).map(Declaration::service).collect();
            consumers.sort_unstable();
            let projections = declarations.iter().flat_map(|service| reading(service, message)).collect();
            entries.push(CatalogueEntry { message: *message, consumers, projections });
        }
    }
    entries.sort_by_key(|entry| entry.message.kind);
    entries
}

/// Returns the projections of a service that read a message.
fn reading(service: &Declaration, message: &MessageInfo) -> impl Iterator<Item = (&'static str, String)> {
    let reads = |projection: &&ProjectionSpec| {
        projection.messages.iter().any(|known| known.message_type == message.message_type)
    };
    let name = service.service();
    service.projections().iter().filter(reads).map(move |projection| (name, projection.consumer.clone()))
}
