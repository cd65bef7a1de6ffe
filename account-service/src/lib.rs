//! Accounts of the shop's customers.
//!
//! Carries out the commands that create, change, and delete accounts, and says after each change what the account is
//! now, whole and with its version: others keep copies of what they need and never ask. In reading order:
//!
//! - [`account`]: the rules; pure, no I/O;
//! - [`handler`]: from commands to accounts and back;
//! - [`queries`]: what can be asked;
//! - [`entity`], [`migration`]: the tables;
//! - [`config`]: the options.

pub mod account;
pub mod config;
pub mod entity;
pub mod handler;
pub mod migration;
pub mod queries;

use contracts::topology::{ACCOUNT_SERVICE, COMMANDS, producer};
use messaging::Service;
use messaging::database::Databases;
use poem::Route;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use handler::AccountHandler;
use migration::Migrator;

/// Runs the service until `shutdown` is cancelled.
///
/// # Errors
///
/// Where the database cannot be opened, and where [`Service::run`] fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let db = Databases::open::<Migrator>(&config.service.database_url(ACCOUNT_SERVICE)).await?;
    let service = Service {
        name: ACCOUNT_SERVICE,
        description: "Accounts of the shop's customers",
        version: env!("CARGO_PKG_VERSION"),
        streams: &[COMMANDS],
        longest_deadline: None,
        producer,
        handler: AccountHandler,
        endpoints: queries::endpoints(&db.reader),
        workers: Vec::new(),
        routes: Route::new(),
        http_address: config.http_address,
        db,
    };
    service.run(&config.service, shutdown).await
}
