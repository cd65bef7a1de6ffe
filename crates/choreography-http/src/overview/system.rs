//! The observed system.

use choreography::Declaration;

use super::rates::FlowTypes;

/// The observed system.
#[derive(Debug, Clone)]
pub struct System {
    /// The program that observes; it counts as running.
    pub program: &'static str,
    /// The declarations of the other services: what they are, and who consumes which message.
    pub declarations: Vec<Declaration>,
    /// The streams whose messages are followed.
    pub followed: Vec<&'static str>,
    /// The other streams: their names, and whether services consume them.
    pub others: Vec<(&'static str, bool)>,
    /// The flow whose rates and latencies are observed.
    pub flow: FlowTypes,
}
