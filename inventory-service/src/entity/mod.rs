//! The tables of the service, without those of the library.

pub mod backorder_line;
pub mod product;
pub mod reservation;
pub mod stock_history;
pub mod stock_receipt;
