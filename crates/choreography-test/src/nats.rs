//! nats-server: finding or installing it, and running it, also for one test.

mod find;
mod server;
mod testing;

pub use find::{find_or_install, find_or_install_in};
pub use server::{NatsServer, NatsServerBuilder, Routes};
pub use testing::TestNats;
