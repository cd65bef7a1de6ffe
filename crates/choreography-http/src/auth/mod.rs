//! Sign-in and rights: access tokens are verified and rights are looked up locally, without a call.
//!
//! - [`token`]: the signature and the claims of an access token;
//! - [`rights`]: the local copy of the rights of all users, by events;
//! - [`access`]: the table of the permissions of all operations, and its enforcement before the router;
//! - [`limits`]: requests per user and address.
//!
//! A revocation is effective for the next request once its event has arrived. A path that the table does not have is
//! never routed.

pub mod access;
pub mod limits;
pub mod rights;
pub mod token;

pub use access::{Access, AccessTable, Authorization, Caller, Entry};
pub use limits::{Limits, RateLimits};
pub use rights::{Change, Rights, Scope, UserRights};
pub use token::{Claims, TokenError, Verifier};
