//! The tables of the service, without those of the library.

pub mod account;
