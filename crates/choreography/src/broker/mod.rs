//! nats-server: connection, streams, clock, durability, storage.

#[cfg(feature = "schemas")]
pub mod asyncapi;
pub mod broker_storage;
pub mod catalogue;
pub mod clock;
pub mod connection;
pub mod credentials;
pub mod declaration;
pub mod direct;
pub mod durability;
pub(crate) mod limits;
pub mod provision;
pub mod replay;
pub mod topology;
pub mod user;
