//! The tables of the service, beside those of the kit.

pub mod counter;
pub mod customer;
pub mod notification;
