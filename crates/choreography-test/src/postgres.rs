//! PostgreSQL: finding or installing it, and running it, also for tests.

mod find;
mod run_as;
mod server;
mod testing;
mod wire;

pub use find::{find_or_install, find_or_install_in, places};
pub use server::{PostgresServer, PostgresServerBuilder};
pub use testing::TestPostgres;
