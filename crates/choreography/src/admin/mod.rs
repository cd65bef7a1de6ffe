//! What a service answers to operators.

pub mod republish;
pub mod stats;
pub mod trace;
