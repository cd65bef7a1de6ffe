//! The HTTP server of every program: bounded in connections, time, and allowed callers.
//!
//! poem routes requests; hyper implements HTTP/1.1. In between, in reading order:
//!
//! - [`options`]: the operator's settings;
//! - [`guard`]: the accepted `Host`, `Origin`, and media type of a request;
//! - [`accept`]: accepting connections, even without free file descriptors;
//! - `places`: the number of open connections, with a reserve for probes;
//! - `stream`: one connection, closed if its client does not read;
//! - `server`: the server that combines them.

pub mod accept;
pub mod guard;
pub mod options;
mod places;
mod server;
mod stream;

pub use accept::Acceptor;
pub use guard::{Guard, Refusal};
pub use options::{HttpOptions, connection_limit};
pub use server::Server;
pub use stream::Connection;
