//! The tables of the service, without those of the library.

pub mod account_copy;
pub mod exposure;
pub mod payment;
pub mod shop;
