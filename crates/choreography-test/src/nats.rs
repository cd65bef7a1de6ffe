//! nats-server: finding or installing it, and running it, also for one test.

mod find;
mod local;
mod server;
mod stream_copy;
mod testing;

pub use find::{find_or_install, find_or_install_in};
pub use local::LocalSystem;
pub use server::{NatsServer, NatsServerBuilder, Routes};
pub use stream_copy::StreamCopy;
pub use testing::TestNats;
