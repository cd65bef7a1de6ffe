//! The tables of the service, beside those of the kit.

pub mod account;
