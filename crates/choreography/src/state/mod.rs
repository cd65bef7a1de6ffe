//! The database of a service: connections, statements, event store, state-stored aggregates, and what is kept beside
//! the data.

pub mod database;
pub mod delivery_issue;
pub mod documents;
pub mod effects;
pub mod event_page;
pub mod event_store;
pub(crate) mod fault;
pub(crate) mod migrator;
pub mod snapshot;
pub mod statement;
pub mod storage;
pub mod tracked;
