//! The command line: without a subcommand, the whole store; with one, a part of it.

use std::process::ExitCode;

use clap::builder::TypedValueParser;
use clap::{CommandFactory, Parser, Subcommand};
use messaging::connection::NatsOptions;
use messaging::{process, setting};

use crate::component::Component;
use crate::config::ShopConfig;
use crate::control::{Action, ControlRequest, DelayAcks, Disconnect, MAX_DELAY, MAX_MESSAGES, Redeliver, Remote};
use crate::healthcheck::healthcheck;
use crate::provision::provision;
use crate::up::{UpOptions, up};

/// The whole store on one machine, each service a process of its own.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: UpOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Break(Break),
    /// Shows where each component of the running demo stands.
    Status,
    /// Makes the streams, buckets, and consumers on a nats-server, or brings them up to date.
    Provision {
        /// Where the server is.
        #[command(flatten)]
        nats: NatsOptions,
        /// How many servers keep each stream: 1, 3, or 5.
        #[arg(long, env = "NATS_REPLICAS", default_value_t = 1, value_parser = setting::replicas())]
        replicas: usize,
    },
    /// Loads the demo catalogue, opens the demo accounts, and places the demo orders.
    Seed(seed::Addresses),
    /// Asks a URL, such as a service's `/readiness`, and fails unless the answer is a success: a container's
    /// health check.
    Healthcheck {
        /// What to ask.
        #[arg(value_parser = setting::http_url())]
        url: String,
    },
    /// Finds and repairs what went wrong: `choreo` as a part of this program.
    Choreo(choreo::Cli),
    /// Runs the order service.
    OrderService(order_service::Config),
    /// Runs the inventory service.
    InventoryService(inventory_service::Config),
    /// Runs the account service.
    AccountService(account_service::Config),
    /// Runs the payment service.
    PaymentService(payment_service::Config),
    /// Runs the notification service.
    NotificationService(notification_service::Config),
    /// Runs the program that stands in for the payment provider.
    PaymentProvider(payment_provider::Config),
    /// Runs the gateway.
    ApiGateway(api_gateway::Config),
}

/// What is asked of a running demo, from a second terminal.
#[derive(Debug, Subcommand)]
enum Break {
    /// Kills a component of the running demo (SIGKILL).
    Kill {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Stops a component of the running demo: it finishes what it has begun.
    Stop {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Starts a component of the running demo that was killed or stopped.
    Start {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Holds a component of the running demo still (SIGSTOP): it keeps its connections and does nothing.
    Pause {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Lets a paused component of the running demo go on (SIGCONT).
    Resume {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Lets the last messages of COMMANDS and EVENTS come again to every service of the running demo.
    Redeliver {
        /// How many of each stream, 1000 at most.
        #[arg(default_value_t = 100, value_parser = setting::number(1..=MAX_MESSAGES))]
        messages: u64,
    },
    /// Holds back what a service of the running demo sends to nats-server, its acknowledgements with it.
    DelayAcks {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
        /// For how many seconds, 60 at most; the server delivers again after 10.
        #[arg(long, default_value_t = 15, value_parser = setting::number(1..=MAX_DELAY))]
        seconds: u64,
    },
    /// Cuts the connection of a service of the running demo to nats-server, once.
    Disconnect {
        /// Its name, as `status` shows it.
        #[arg(value_parser = component())]
        component: Component,
    },
}

/// The name of a process of the shop.
fn component() -> impl TypedValueParser<Value = Component> {
    let names = Component::ALL.map(Component::name).join(", ");
    setting::parsed(|text: &str| text.parse::<Component>(), format!("is not one of {names}"))
}

/// Returns the command line as it is declared: every subcommand with its options.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what the command line asks.
///
/// # Errors
///
/// What is wrong and what to do about it, for a person.
pub async fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let Some(command) = cli.command else {
        up(&cli.up, process::shutdown_on_signal()?).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Command::Choreo(mut choreo) = command {
        choreo.nats.nats_password.get_or_insert_with(|| ShopConfig::password(choreo::operator::OPERATOR));
        return Ok(choreo.run().await);
    }
    let _logs = process::init_logging()?;
    match command {
        // Answered above, without logs around what it prints.
        Command::Choreo(_) => {}
        Command::Break(what) => process::print(Remote::find(&cli.up.data)?.ask(what.into()).await?),
        Command::Status => {
            for status in Remote::find(&cli.up.data)?.status().await? {
                let process = status.process.map_or_else(|| "-".to_owned(), |process| process.to_string());
                let state = if status.ready { "ready" } else { &status.detail };
                process::print(format_args!("{:<20} {process:>8}  {state}", status.component));
            }
        }
        Command::Provision { nats, replicas } => provision(&nats, replicas).await?,
        Command::Seed(addresses) => seed::load(&addresses, |step| process::print(step)).await?,
        Command::Healthcheck { url } => healthcheck(&url).await?,
        Command::OrderService(config) => order_service::run(config, process::shutdown_on_signal()?).await?,
        Command::InventoryService(config) => inventory_service::run(config, process::shutdown_on_signal()?).await?,
        Command::AccountService(config) => account_service::run(config, process::shutdown_on_signal()?).await?,
        Command::PaymentService(config) => payment_service::run(config, process::shutdown_on_signal()?).await?,
        Command::NotificationService(config) => {
            notification_service::run(config, process::shutdown_on_signal()?).await?;
        }
        Command::PaymentProvider(config) => payment_provider::run(config, process::shutdown_on_signal()?).await?,
        Command::ApiGateway(config) => api_gateway::run(config, process::shutdown_on_signal()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl From<Break> for ControlRequest {
    fn from(what: Break) -> Self {
        match what {
            Break::Kill { component } => Self::Act(Action::Kill, component),
            Break::Stop { component } => Self::Act(Action::Stop, component),
            Break::Start { component } => Self::Act(Action::Start, component),
            Break::Pause { component } => Self::Act(Action::Pause, component),
            Break::Resume { component } => Self::Act(Action::Resume, component),
            Break::Redeliver { messages } => Self::Redeliver(Redeliver { messages }),
            Break::DelayAcks { component, seconds } => Self::DelayAcks(DelayAcks { component, seconds }),
            Break::Disconnect { component } => Self::Disconnect(Disconnect { component }),
        }
    }
}
