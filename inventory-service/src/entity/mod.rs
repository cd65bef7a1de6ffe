//! The tables of the service, beside those of the kit.

pub mod intake;
pub mod product;
pub mod reservation;
pub mod waiting_line;
