//! The observed system.

use super::rates::{FlowTypes, Routes};

/// The observed system.
#[derive(Debug, Clone)]
pub struct System {
    /// The program that observes; it counts as running.
    pub program: &'static str,
    /// The other services.
    pub services: Vec<String>,
    /// The streams whose messages are followed.
    pub followed: Vec<&'static str>,
    /// The other streams: their names, and whether services consume them.
    pub others: Vec<(&'static str, bool)>,
    /// The producers and consumers of the messages.
    pub routes: Routes,
    /// The flow whose rates and latencies are observed.
    pub flow: FlowTypes,
}
