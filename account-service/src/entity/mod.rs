//! The tables of the service, beside those of the library.

pub mod account;
