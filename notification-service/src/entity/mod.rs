//! The tables of the service, without those of the library.

pub mod counter;
pub mod customer;
pub mod notification;
