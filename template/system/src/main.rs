//! Provisions the streams, prints the users of nats.conf, and sends commands.

use std::time::Duration;

use choreography::connection::{self, NatsOptions};
use choreography::process;
use choreography::publisher::{self, Publisher};
use clap::{Parser, Subcommand};
use messages::{BookRoom, declarations, streams, topology};
use uuid::Uuid;

#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    nats: NatsOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Creates or updates the streams and consumers.
    Provision {
        /// The number of replicas of each stream: 1, 3, or 5.
        #[arg(long, default_value_t = 1)]
        replicas: usize,
    },
    /// Prints the user of each service with its permissions, for nats.conf.
    Users,
    /// Books a room.
    Book {
        /// The id of the booking.
        booking_id: String,
        /// The price, in cents.
        price: i64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (_logs, cli) = (process::init_logging()?, Cli::parse());
    if let Command::Users = cli.command {
        for declaration in declarations() {
            process::print(format_args!("{}", declaration.user(&streams()?)?));
        }
        return Ok(());
    }
    let (client, _) = connection::establish(&cli.nats, "system", Duration::from_secs(30)).await?;
    let js = connection::jetstream(&client);
    match cli.command {
        Command::Provision { replicas } => topology(streams()?)?.provision(&js, replicas).await,
        Command::Book { booking_id, price } => {
            // The same id makes a repeated command harmless.
            let id = Uuid::now_v7();
            let command = publisher::Command::new(id, &BookRoom { booking_id, price })?;
            let published = Publisher::new(js, "system").publish(command).await?;
            process::print(format_args!(
                "COMMANDS stored it with sequence {}",
                published.sequence
            ));
            Ok(())
        }
        Command::Users => Ok(()),
    }
}
