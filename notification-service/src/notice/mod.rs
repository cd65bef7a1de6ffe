//! The texts of notifications. Pure: no clock, no I/O.
//!
//! - [`Customer`]: the copy of an account, with name and mail address;
//! - [`Notice`]: subject and text of one notification.

mod customer;
mod money;
mod text;

pub use customer::{Contact, Customer};
pub use money::format_amount;
pub use text::Notice;
