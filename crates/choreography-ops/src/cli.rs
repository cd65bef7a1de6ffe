//! The command line.

mod history;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use choreography::connection::NatsOptions;
use choreography::process::Interruption;
use choreography::redrive::Outcome;
use choreography::{clock, process, setting};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::checks::{Status, Watcher};
use crate::dead_letters::redrive::{Ramp, Redriven, Summary, redrive};
use crate::dead_letters::{self, DeadLetter, DeadLetterDetail, Filter, Listing, delete};
use crate::explain::{self, Reach};
use crate::print::{Printer, ago, board, table, timeline};
use crate::projections::cli::Projections;
use crate::restore::{Progress, restore};
use crate::{OPERATOR, Operator, System};
pub use history::History;

/// How long a mismatch between services may take to settle.
const SETTLE: Duration = Duration::from_secs(5);
/// The time between two checks while some are unknown.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Finds and repairs problems of a system of services.
///
/// Connects as the user `operator` of nats.conf; `OPERATOR_PASSWORD` or `NATS_PASSWORD` is its password.
///
/// SIGINT and SIGTERM end a command early, with status 130 or 143: it reports completed and remaining work. Every
/// command can be repeated. A second signal, or 3 seconds, end it at once.
#[derive(Debug, Parser)]
#[command(version, name = "choreo")]
// Flattened into the program of a system, whose struct may have the same name.
#[group(id = "choreography-ops")]
pub struct Cli {
    /// Prints JSON, one value per line, instead of tables. Errors go to standard error as JSON, too.
    #[arg(long, global = true)]
    pub json: bool,
    /// The connection to nats-server.
    #[command(flatten)]
    pub nats: NatsOptions,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists, shows, redrives, and deletes messages that services could not handle.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Prints the timeline of a business id across all services, and its blockers.
    ///
    /// Ends with status 1 if a stream or a service is unavailable, so that the answer is incomplete, or if the id is
    /// unknown.
    Explain {
        /// The business id, such as the id of an order.
        #[arg(value_parser = setting::text())]
        key: String,
    },
    /// Prints the history of an event-sourced aggregate, or the aggregate as it was.
    ///
    /// The service of the context replies, on `<context>.query.history.<id>` and `<context>.query.get.<id>`.
    History(History),
    /// Checks the invariants: outboxes, consumers, dead letters, and those of the system.
    ///
    /// Ends with status 1 if a check fails, or is still unknown after five seconds.
    Check,
    /// Repairs streams.
    #[command(subcommand)]
    Streams(Streams),
    /// Lists, pauses, starts, rebuilds, switches, and drops projections.
    #[command(subcommand)]
    Projections(Projections),
}

/// The commands for streams.
#[derive(Debug, Subcommand)]
pub enum Streams {
    /// Restores a stream that lost messages: services republish what their outboxes retain.
    ///
    /// Create the stream and its consumers first if they are missing. It can be ended and started
    /// again at any time. Ends with status 1 if a service did not republish everything.
    Restore {
        /// The stream. A stream of commands cannot be restored: no outbox holds its messages.
        #[arg(value_parser = setting::text())]
        stream: String,
        /// Only messages published at most this long ago, such as `15m`.
        #[arg(long, value_parser = setting::age())]
        last: Option<Duration>,
        /// How long a consumer with half of the stream still to read may make no progress. Then this ends with status
        /// 1.
        #[arg(long, default_value = "2m", value_parser = setting::age())]
        stall_timeout: Duration,
    },
}

/// The commands for dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// Lists dead letters, oldest first.
    List {
        /// Which dead letters to list.
        #[command(flatten)]
        filter: Filter,
        /// The maximum number to list.
        #[arg(long, default_value_t = 100, value_parser = setting::count(1..=dead_letters::MAX_SELECTION))]
        limit: usize,
    },
    /// Shows a dead letter with its headers and its body.
    Show {
        /// Its sequence, as the list shows it.
        #[arg(value_parser = setting::number(1..=u64::MAX))]
        sequence: u64,
    },
    /// Redrives dead letters, each to the one service that dead-lettered it.
    ///
    /// Ramps up (1, 2, 4, … per second), stops if dead letters fail again, and reports the outcome of each. Ends with
    /// status 1 if not all are handled.
    Redrive {
        /// Which dead letters to redrive.
        #[command(flatten)]
        selection: Selection,
        /// The rate and the limits.
        #[command(flatten)]
        ramp: Ramp,
    },
    /// Deletes dead letters; a copy with the reason is kept on `dead-letter-deleted.…`.
    // `--reason` is that of the deletion, so the filter has another name here.
    #[command(mut_arg("reason", |filter| filter.long("with-reason").value_name("TEXT")))]
    Delete {
        /// Which dead letters to delete.
        #[command(flatten)]
        selection: Selection,
        /// The reason, which is kept with the copy.
        #[arg(long = "reason", id = "deletion-reason", value_name = "REASON", value_parser = setting::text())]
        reason: String,
    },
}

/// Which dead letters to process: by sequence, by filter, or all.
#[derive(Debug, Args)]
pub struct Selection {
    /// Their sequences, as the list shows them.
    #[arg(value_parser = setting::number(1..=u64::MAX))]
    sequences: Vec<u64>,
    /// The filter, if no sequence is given.
    #[command(flatten)]
    filter: Filter,
    /// Selects all dead letters.
    #[arg(long)]
    all: bool,
    /// The maximum number to select.
    #[arg(long, default_value_t = dead_letters::MAX_SELECTION, value_parser = setting::count(1..=dead_letters::MAX_SELECTION))]
    limit: usize,
}

impl Cli {
    /// Runs the command on a system, and returns the exit status: 0 on success, 1 if not everything succeeded, 2 if the
    /// command could not run, 130 or 143 if a signal ended it. `watcher` has the system's own checks.
    pub async fn run(self, system: impl FnOnce() -> anyhow::Result<System>, watcher: Watcher) -> ExitCode {
        let json = self.json;
        let report = |error: &anyhow::Error| {
            let text = format!("{error:#}");
            process::print_error(if json { json!({ "error": text }).to_string() } else { text });
            ExitCode::from(2)
        };
        let interruption = match Interruption::watch() {
            Ok(interruption) => interruption,
            Err(error) => return report(&error),
        };
        let status = match Box::pin(self.execute(system, watcher, &interruption.token)).await {
            Ok(true) => return ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => report(&error),
        };
        interruption.status().map_or(status, ExitCode::from)
    }

    async fn execute(
        mut self,
        system: impl FnOnce() -> anyhow::Result<System>,
        watcher: Watcher,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        if self.nats.nats_password.is_none() && !self.nats.nats_credentials.replace_password() {
            self.nats.nats_password = std::env::var("OPERATOR_PASSWORD").ok();
        }
        self.nats.nats_user.get_or_insert_with(|| OPERATOR.to_owned());
        let operator = unless_stopped(stop, Box::pin(Operator::connect(&self.nats, system()?))).await?;
        let printer = Printer { json: self.json };
        let done = match self.command {
            Command::DeadLetters(command) => command.execute(&operator, stop, printer).await,
            Command::Streams(Streams::Restore { stream, last, stall_timeout }) => {
                restore_stream(&operator, &stream, last, stall_timeout, stop, printer).await
            }
            Command::Explain { key } => unless_stopped(stop, explain(&operator, &key, printer)).await,
            Command::Projections(command) => command.execute(&operator, printer).await,
            Command::History(history) => unless_stopped(stop, history.execute(&operator, printer)).await,
            Command::Check => unless_stopped(stop, Box::pin(check(&operator, watcher, printer))).await,
        };
        // nats-server does not report a refusal to the request that it refuses.
        match (done, operator.refusal()) {
            (Err(error), Some(refusal)) => Err(error.context(format!("nats-server refused: {refusal}"))),
            (done, _) => done,
        }
    }
}

/// Awaits a future that changes nothing, unless a signal ends it.
async fn unless_stopped<T, E: Into<anyhow::Error>>(
    stop: &CancellationToken,
    reading: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    match stop.run_until_cancelled(reading).await {
        Some(done) => done.map_err(Into::into),
        None => bail!("interrupted by a signal; nothing was changed"),
    }
}

async fn restore_stream(
    operator: &Operator,
    stream: &str,
    last: Option<Duration>,
    stall_timeout: Duration,
    stop: &CancellationToken,
    printer: Printer,
) -> anyhow::Result<bool> {
    let since = last.map(|last| clock::now() - last);
    let report = |progress: &Progress| printer.print(progress, || progress_text(progress));
    let all = restore(operator, stream, since, stall_timeout, stop, report).await?;
    printer.print(&json!({ "summary": all }), || restored_text(&all));
    Ok(all.iter().all(|progress| progress.done))
}

async fn explain(operator: &Operator, key: &str, printer: Printer) -> anyhow::Result<bool> {
    let timeline = explain::explain(operator, key, Reach::Everything).await?;
    printer.print(&timeline, || timeline::of(&timeline));
    Ok(timeline.is_complete() && !timeline.is_empty())
}

/// Checks until every status is known, for at most five seconds: mismatches may settle.
async fn check(operator: &Operator, mut watcher: Watcher, printer: Printer) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let board = loop {
        let board = watcher.look(operator).await;
        let known = board.checks.iter().all(|check| check.status != Status::Unknown) && !watcher.suspects();
        if known || board.fails() || begun.elapsed() > SETTLE {
            break board;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    };
    printer.print(&board, || board::of(&board));
    Ok(board.passes())
}

impl DeadLetters {
    async fn execute(
        self,
        operator: &Operator,
        stop: &CancellationToken,
        printer: Printer,
    ) -> anyhow::Result<bool> {
        match self {
            Self::List { filter, limit } => {
                let listing = unless_stopped(stop, dead_letters::list(operator, &filter, limit)).await?;
                printer.print(&listing, || list_text(&listing));
            }
            Self::Show { sequence } => {
                let Some(dead_letter) = unless_stopped(stop, dead_letters::show(operator, sequence)).await? else {
                    bail!("there is no dead letter {sequence}");
                };
                printer.print(&dead_letter, || whole_text(&dead_letter));
            }
            Self::Redrive { selection, ramp } => {
                let dead_letters = unless_stopped(stop, selection.dead_letters(operator)).await?;
                let report = |redriven: &Redriven| printer.print(redriven, || redriven_text(redriven));
                let summary = redrive(operator, &dead_letters, &ramp, stop, report).await;
                printer.print(&json!({ "summary": summary }), || summary_text(&summary));
                return Ok(summary.all_handled());
            }
            Self::Delete { selection, reason } => {
                let dead_letters = unless_stopped(stop, selection.dead_letters(operator)).await?;
                delete(operator, &dead_letters, &reason, stop, printer).await?;
            }
        }
        Ok(true)
    }
}

/// Deletes dead letters for a reason, one by one.
async fn delete(
    operator: &Operator,
    dead_letters: &[DeadLetter],
    reason: &str,
    stop: &CancellationToken,
    printer: Printer,
) -> anyhow::Result<()> {
    for (done, dead_letter) in dead_letters.iter().enumerate() {
        let sequence = dead_letter.sequence;
        let Some(ended) = stop.run_until_cancelled(delete::delete(operator, sequence, reason)).await else {
            let rest = dead_letters.len() - done;
            bail!(
                "interrupted by a signal: {done} dead letters are processed, {rest} are not; whether {sequence} was deleted is \
                 unknown; repeat the command"
            );
        };
        let deleted = ended?;
        let text = if deleted.deleted { "deleted" } else { "gone" };
        printer.print(&deleted, || format!("{sequence:>8}  {text}"));
    }
    Ok(())
}

impl Selection {
    /// Returns the selected dead letters. Refuses to select all of them without `--all`.
    async fn dead_letters(&self, operator: &Operator) -> anyhow::Result<Vec<DeadLetter>> {
        if !self.sequences.is_empty() {
            anyhow::ensure!(self.filter.is_empty() && !self.all, "give either sequences or a filter, not both");
            let (dead_letters, absent) = dead_letters::named(operator, &self.sequences).await?;
            anyhow::ensure!(absent.is_empty(), "there are no dead letters {absent:?}");
            return Ok(dead_letters);
        }
        anyhow::ensure!(
            self.all || !self.filter.is_empty(),
            "no dead letters selected: give sequences, a filter, or --all"
        );
        Ok(dead_letters::list(operator, &self.filter, self.limit).await?.dead_letters)
    }
}

fn list_text(listing: &Listing) -> String {
    if listing.dead_letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let heading = ["SEQUENCE", "AGE", "SERVICE", "TYPE", "KEY", "REASON", "ATTEMPTS", "DETAIL"];
    let rows = listing.dead_letters.iter().map(|dead_letter| {
        vec![
            dead_letter.sequence.to_string(),
            ago(dead_letter.age_seconds),
            dead_letter.service.clone(),
            dead_letter.message_type.clone().unwrap_or_else(|| "?".to_owned()),
            dead_letter.key.clone(),
            dead_letter.reason.clone(),
            dead_letter.attempts.map_or_else(|| "?".to_owned(), |attempts| attempts.to_string()),
            dead_letter.detail.chars().take(100).collect(),
        ]
    });
    let more = if listing.more { "\n… and more; see --limit" } else { "" };
    table(&heading, rows) + more
}

fn whole_text(whole: &DeadLetterDetail) -> String {
    let rows = whole.headers.iter().map(|(name, values)| vec![name.clone(), values.join(", ")]);
    let body = serde_json::to_string_pretty(&whole.body).unwrap_or_default();
    format!("{}\n\n{body}", table(&["HEADER", "VALUE"], rows))
}

fn redriven_text(redriven: &Redriven) -> String {
    let outcome = match &redriven.outcome {
        Outcome::Handled => "handled".to_owned(),
        Outcome::AlreadyHandled => "handled before".to_owned(),
        Outcome::Failed { reason } => format!("failed again: {reason}"),
        Outcome::Refused { reason } => format!("refused: {reason}"),
        Outcome::Gone => "gone".to_owned(),
        Outcome::Unknown { reason } => format!("unknown, redrive it again to find out: {reason}"),
    };
    let Redriven { sequence, service, key, .. } = redriven;
    format!("{sequence:>8}  {service:<22} {key:<20} {outcome}")
}

fn progress_text(progress: &Progress) -> String {
    let Progress { service, published, known, settled, done, failed } = progress;
    let state = match (failed, done) {
        (Some(why), _) => format!("failed: {why}"),
        (None, true) => "done".to_owned(),
        (None, false) => "…".to_owned(),
    };
    format!("{service:<22} {published:>8} published {known:>8} known {settled:>6} settled  {state}")
}

fn restored_text(all: &[Progress]) -> String {
    let published: u64 = all.iter().map(|progress| progress.published).sum();
    let rest: Vec<&str> = all.iter().filter(|progress| !progress.done).map(|progress| &*progress.service).collect();
    match rest.as_slice() {
        [] => format!("{published} messages republished"),
        rest => format!(
            "{published} messages republished; the outbox of {} is not completely republished: repeat the command",
            rest.join(", ")
        ),
    }
}

fn summary_text(summary: &Summary) -> String {
    let Summary { handled, already_handled, failed, refused, gone, unknown, not_tried, stopped } = summary;
    let mut text = format!(
        "{handled} handled, {already_handled} handled before, {failed} failed again, {refused} refused, {gone} gone, \
         {unknown} unknown, {not_tried} not tried"
    );
    if let Some(why) = stopped {
        text += &format!("\nstopped: {why}");
    }
    text
}
