//! What the inventory service promises.

mod database;
mod given;
mod http;
mod properties;
mod queries;
mod reserving;
mod slices;
