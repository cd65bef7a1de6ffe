//! The HTTP server of every program: bounded in connections, in time, and in who may ask.
//!
//! poem routes and answers; hyper speaks HTTP/1.1. In between, in reading order:
//!
//! - [`options`]: what an operator configures;
//! - [`guard`]: which `Host`, `Origin`, and media type a request may have;
//! - [`accept`]: connections taken from the operating system, also when it has no file descriptors left;
//! - `places`: how many connections are open, and the few kept free for probes;
//! - `stream`: one connection, which a client that does not read loses;
//! - `server`: all of it together.

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
