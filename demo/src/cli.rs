//! The command line: without a subcommand it runs the whole shop, with one a part of it.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use choreography::connection::NatsOptions;
use choreography::{process, setting};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::component::Component;
use crate::config::ShopConfig;
use crate::control::{Action, ControlRequest, DelayAcks, Disconnect, MAX_DELAY, MAX_MESSAGES, Redeliver, Remote};
use crate::declarations::users;
use crate::healthcheck::healthcheck;
use crate::nkeys;
use crate::provision::provision_for;
use crate::up::{UpOptions, up};

/// The whole shop on one machine, one process per service.
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
    /// Shows the status of each component of the running demo.
    Status,
    /// Creates or updates the streams, buckets, and consumers on a nats-server; with `--nkeys`, creates NKeys instead.
    Provision {
        /// The connection to nats-server.
        #[command(flatten)]
        nats: NatsOptions,
        /// The number of replicas of each stream: 1, 3, or 5.
        #[arg(long, env = "NATS_REPLICAS", default_value_t = 1, value_parser = setting::replicas())]
        replicas: usize,
        /// Writes a seed per user of nats.conf (`<user>.nk`) and a nats.conf with their public keys to this folder, and
        /// connects to no server. Existing seeds are kept.
        #[arg(long, value_name = "FOLDER", value_parser = setting::path())]
        nkeys: Option<PathBuf>,
        /// The folder of the earlier seeds, which nats.conf then accepts as well: for a rotation.
        #[arg(long, value_name = "FOLDER", requires = "nkeys", value_parser = setting::path())]
        earlier_nkeys: Option<PathBuf>,
        /// With sign-in: also the consumer of identity-service.
        #[arg(long, env = "AUTH", value_parser = setting::switch())]
        auth: bool,
    },
    /// Prints the users of the services for `nats.conf`, with the permissions that follow from their declarations.
    Users,
    /// Loads the demo catalogue, opens the demo accounts, and places the demo orders.
    Seed(seed::Addresses),
    /// Requests a URL, such as a service's `/readiness`, and fails unless the response is a success: a container's
    /// health check.
    Healthcheck {
        /// The URL to request.
        #[arg(value_parser = setting::http_url())]
        url: String,
    },
    /// Runs `choreo`, the operator's program: dead letters, timelines, checks, and repairs.
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
    /// Runs the identity service.
    IdentityService(identity_service::Config),
    /// Runs the projection service.
    ProjectionService(projection_service::Config),
    /// Runs the stub of the payment provider.
    PaymentProvider(payment_provider::Config),
    /// Runs the gateway.
    ApiGateway(api_gateway::Config),
}

/// Control requests to a running demo, from a second terminal.
#[derive(Debug, Subcommand)]
enum Break {
    /// Kills a component of the running demo (SIGKILL).
    Kill {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Stops a component of the running demo (SIGTERM): it finishes its work in progress.
    Stop {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Starts a component of the running demo that was killed or stopped.
    Start {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Pauses a component of the running demo (SIGSTOP): it keeps its connections and does nothing.
    Pause {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Resumes a paused component of the running demo (SIGCONT).
    Resume {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
    /// Redelivers the last messages of COMMANDS and EVENTS to every service of the running demo.
    Redeliver {
        /// The number of messages per stream, at most 1000.
        #[arg(default_value_t = 100, value_parser = setting::number(1..=MAX_MESSAGES))]
        messages: u64,
    },
    /// Delays everything that a service of the running demo sends to nats-server, acknowledgements included.
    DelayAcks {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
        /// The delay in seconds, at most 60; nats-server redelivers after 10.
        #[arg(long, default_value_t = 15, value_parser = setting::number(1..=MAX_DELAY))]
        seconds: u64,
    },
    /// Disconnects a service of the running demo from nats-server, once.
    Disconnect {
        /// The name of the component, as shown by `status`.
        #[arg(value_parser = component())]
        component: Component,
    },
}

/// Returns the parser of a component's name.
fn component() -> impl TypedValueParser<Value = Component> {
    let names = Component::NAMED.map(Component::name).join(", ");
    setting::parsed(|text: &str| text.parse::<Component>(), format!("is not one of {names}"))
}

/// Returns the declared command line: every subcommand with its options.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command of the command line.
///
/// # Errors
///
/// The problem and the next step, as a message for the user.
pub fn run() -> Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>>>> {
    Box::pin(run_command())
}

async fn run_command() -> anyhow::Result<ExitCode> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches)?;
    if let Some(option) = unused_option(&cli, &matches) {
        let text = format!("--{} has no effect on this subcommand; leave it out", option.replace('_', "-"));
        Cli::command().error(ErrorKind::ArgumentConflict, text).exit();
    }
    let Some(command) = cli.command else {
        Box::pin(up(&cli.up, process::shutdown_on_signal()?)).await?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Command::Choreo(mut choreo) = command {
        let nats = &mut choreo.ops.nats;
        if !nats.nats_credentials.replace_password() {
            nats.nats_password.get_or_insert_with(|| ShopConfig::password(choreography_ops::OPERATOR));
        }
        return Ok(Box::pin(choreo.run()).await);
    }
    let _logs = process::init_logging()?;
    match command {
        // Handled above, so that no log lines mix with its output.
        Command::Choreo(_) => {}
        Command::Break(request) => process::print(Remote::find(&cli.up.data)?.ask(request.into()).await?),
        Command::Status => {
            for status in Remote::find(&cli.up.data)?.status().await? {
                let process = status.process.map_or_else(|| "-".to_owned(), |process| process.to_string());
                let state = if status.ready { "ready" } else { &status.detail };
                process::print(format_args!("{:<20} {process:>8}  {state}", status.component));
            }
        }
        Command::Provision { nkeys: Some(folder), earlier_nkeys, .. } => {
            let written = nkeys::write(&folder, earlier_nkeys.as_deref())?;
            process::print(format_args!("created the seeds of: {}", list(&written.created)));
            process::print(format_args!("wrote {}", written.config.display()));
        }
        Command::Provision { nats, replicas, auth, .. } => provision_for(&nats, replicas, auth).await?,
        Command::Users => process::print(users()?),
        Command::Seed(addresses) => seed::load(&addresses, |step| process::print(step)).await?,
        Command::Healthcheck { url } => healthcheck(&url).await?,
        Command::OrderService(config) => order_service::run(config, process::shutdown_on_signal()?).await?,
        Command::InventoryService(config) => inventory_service::run(config, process::shutdown_on_signal()?).await?,
        Command::AccountService(config) => account_service::run(config, process::shutdown_on_signal()?).await?,
        Command::PaymentService(config) => payment_service::run(config, process::shutdown_on_signal()?).await?,
        Command::NotificationService(config) => {
            notification_service::run(config, process::shutdown_on_signal()?).await?;
        }
        Command::ProjectionService(config) => {
            projection_service::run(config, process::shutdown_on_signal()?).await?
        }
        Command::IdentityService(config) => identity_service::run(config, process::shutdown_on_signal()?).await?,
        Command::PaymentProvider(config) => payment_provider::run(config, process::shutdown_on_signal()?).await?,
        Command::ApiGateway(config) => api_gateway::run(config, process::shutdown_on_signal()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns names, separated by commas, or `none`.
fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Returns an option of the demo that is on the command line although the subcommand does not use it.
fn unused_option(cli: &Cli, matches: &ArgMatches) -> Option<&'static str> {
    let used: &[&str] = match cli.command {
        None => return None,
        Some(Command::Break(_) | Command::Status) => &["data"],
        Some(_) => &[],
    };
    let is_given = |option: &str| matches.value_source(option) == Some(ValueSource::CommandLine);
    UpOptions::NAMES.into_iter().find(|option| is_given(option) && !used.contains(option))
}

impl From<Break> for ControlRequest {
    fn from(request: Break) -> Self {
        match request {
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
