//! nats-server: connection, streams, clock, durability.

pub mod clock;
pub mod connection;
pub mod direct;
pub mod durability;
pub(crate) mod limits;
pub mod replay;
pub mod topology;
