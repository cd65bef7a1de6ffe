//! The tables of the service, beside those of the library.

pub mod counter;
pub mod customer;
pub mod notification;
