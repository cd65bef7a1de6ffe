//! From a transaction to the stream: outbox, relay, publisher, dead letters.

pub(crate) mod atomic;
pub mod dead_letter;
pub(crate) mod in_flight;
pub mod outbox;
pub mod outbox_pending;
pub mod owner;
pub mod publisher;
pub(crate) mod refusals;
pub(crate) mod relay;
pub(crate) mod relay_handle;
pub(crate) mod scan;
