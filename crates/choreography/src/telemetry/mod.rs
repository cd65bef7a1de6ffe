//! Health, metrics, spans, and log output.

pub mod health;
pub mod metrics;
pub mod output;
pub mod spans;
