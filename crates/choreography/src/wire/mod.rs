//! The message format: declarations of messages, envelopes, ids, trace context.

pub mod auth;
pub(crate) mod encoding;
pub mod envelope;
pub mod message;
pub(crate) mod reason;
pub mod text;
pub(crate) mod trace_parent;
