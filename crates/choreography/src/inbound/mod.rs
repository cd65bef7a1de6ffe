//! From the stream to a transaction: consumer, inbox, processor, retry; and queries.

pub(crate) mod consumer;
pub(crate) mod deadline;
pub(crate) mod each;
pub mod event_sourced;
pub(crate) mod failure;
pub mod handler;
pub mod history;
pub mod inbox;
pub(crate) mod item;
pub mod policies;
pub mod position;
pub(crate) mod processor;
pub mod query;
pub mod redrive;
pub(crate) mod redriving;
pub(crate) mod retry;
pub mod testing;
pub mod time_travel;
pub(crate) mod unknown_version;
