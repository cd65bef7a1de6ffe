//! The command line, with the texts of the shop.

use std::process::ExitCode;

use choreography::setting;
use clap::{Command, Parser};

use crate::{invariants, shop_for};

/// Finds and repairs problems of a shop.
///
/// Connects as the user `operator` of nats.conf; `OPERATOR_PASSWORD` or `NATS_PASSWORD` is its password.
///
/// SIGINT and SIGTERM end a command early, with status 130 or 143: it reports completed and remaining work. Every
/// command can be repeated. A second signal, or 3 seconds, end it at once.
#[derive(Debug, Parser)]
#[command(version, name = "choreo", mut_subcommand("explain", explain), mut_subcommand("check", check))]
#[command(mut_subcommand("streams", |streams| streams.mut_subcommand("restore", restore)))]
pub struct Cli {
    /// The program of any system.
    #[command(flatten)]
    pub ops: choreography_ops::Cli,
    /// The shop has sign-in: identity-service is part of it.
    #[arg(long, env = "AUTH", global = true, value_parser = setting::switch())]
    pub auth: bool,
}

impl Cli {
    /// Runs the command and returns the exit status, as [`choreography_ops::Cli::run`] does.
    pub async fn run(self) -> ExitCode {
        let auth = self.auth;
        self.ops.run(move || shop_for(auth), invariants::watcher()).await
    }
}

fn explain(command: Command) -> Command {
    let about = "Prints the timeline of an order across all services, and its blockers";
    with_about(command, about).mut_arg("key", |key| key.help("The order's id, or another business id"))
}

fn check(command: Command) -> Command {
    with_about(
        command,
        "Checks the invariants: stock, money, orders, duplicates, outboxes, consumers, dead letters",
    )
}

fn restore(command: Command) -> Command {
    let text = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let text = text.replace("if they are missing.", "if they are missing (`demo provision`).");
    let streams =
        "The stream: EVENTS, TIMERS, or `DEAD_LETTERS`. COMMANDS cannot be restored: no outbox holds its messages";
    command.long_about(text).mut_arg("stream", |stream| stream.help(streams))
}

/// Replaces the first sentence of a command's description.
fn with_about(command: Command, about: &'static str) -> Command {
    let rest = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let rest = rest.split_once("\n\n").map_or("", |(_, rest)| rest);
    let long_about = format!("{about}.\n\n{rest}");
    command.about(about).long_about(long_about)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::CommandFactory;

    use super::*;

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let command = path.iter().fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        command.render_long_help().to_string()
    }

    #[test]
    fn no_command_has_two_options_of_one_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_what_the_shop_has() {
        for (path, texts) in [
            (&[][..], ["problems of a shop", "timeline of an order", "stock, money, orders"]),
            (&["explain"], ["timeline of an order", "Ends with status 1", "The order's id"]),
            (&["check"], ["stock, money, orders", "Ends with status 1", "five seconds"]),
            (&["streams", "restore"], ["(`demo provision`)", "EVENTS, TIMERS", "Ends with status 1"]),
        ] {
            let help = help(path);
            assert!(texts.iter().all(|text| help.contains(text)), "{path:?}: {help}");
        }
    }
}
