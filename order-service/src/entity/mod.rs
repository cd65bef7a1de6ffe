//! The service's own tables.

pub mod order_view;
