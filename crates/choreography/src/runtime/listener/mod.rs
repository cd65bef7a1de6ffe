//! The HTTP server of every program: bounded in connections, time, and allowed callers.
//!
//! poem routes requests; hyper implements HTTP/1.1. In between, in reading order:
//!
//! - [`options`]: the operator's settings;
//! - [`guard`]: the accepted `Host`, `Origin`, and media type of a request;
//! - [`accept`]: accepting connections, even without free file descriptors;
//! - `places`: the number of open connections, with a reserve for probes;
//! - `stream`: one connection, closed if its client does not read;
//! - `tls`: the certificate, replaced in operation;
//! - `headers`: headers of every response, for browsers;
//! - `server`: the server that combines them.

pub mod accept;
pub mod guard;
mod headers;
pub mod options;
mod places;
mod server;
mod stream;
mod tls;

pub use accept::Acceptor;
pub use guard::{Guard, Refusal};
pub use options::{HttpOptions, connection_limit};
pub use server::Server;
pub use stream::Connection;
