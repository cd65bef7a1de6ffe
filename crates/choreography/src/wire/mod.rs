//! What travels: envelopes, ids, trace context.

pub mod envelope;
pub(crate) mod reason;
pub(crate) mod trace_parent;
