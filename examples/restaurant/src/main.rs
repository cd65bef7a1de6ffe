//! Starts all of it, or a part of it.

use choreography::connection::NatsOptions;
use choreography::process;
use clap::{Parser, Subcommand};
use restaurant::declaration::{declarations, topology};
use restaurant::{catalogue, gateway, projection, reservation, system};

/// Restaurants, tables, and reservations. Without a subcommand: all of it in one process.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: system::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Runs catalogue-service.
    CatalogueService(restaurant::ServiceConfig),
    /// Runs reservation-service.
    ReservationService(reservation::Config),
    /// Runs projection-service.
    ProjectionService(restaurant::ServiceConfig),
    /// Runs the gateway.
    Gateway(gateway::Settings),
    /// Creates or updates the streams, the bucket, and the consumers.
    Provision(NatsOptions),
    /// Prints the users for nats.conf, with the permissions that follow from the declarations.
    Users,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (_logs, cli) = (process::init_logging()?, Cli::parse());
    let shutdown = process::shutdown_on_signal()?;
    match cli.command {
        None => Box::pin(system::run(cli.options, shutdown)).await,
        Some(Command::CatalogueService(config)) => catalogue::run(config, shutdown).await,
        Some(Command::ReservationService(config)) => reservation::run(config, shutdown).await,
        Some(Command::ProjectionService(config)) => projection::run(config, shutdown).await,
        Some(Command::Gateway(config)) => gateway::run(config, shutdown).await,
        Some(Command::Provision(nats)) => system::provision(&nats).await,
        Some(Command::Users) => {
            let topology = topology()?;
            for declaration in declarations()? {
                process::print(declaration.user(&topology)?);
            }
            Ok(())
        }
    }
}
