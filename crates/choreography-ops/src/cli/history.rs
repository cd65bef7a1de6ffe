//! `choreo history`.

use choreography::setting;
use choreography::time_travel::{Difference, Point};
use clap::Args;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::print::{Printer, table};
use crate::{Operator, history};

/// Which history, and which part of it.
#[derive(Debug, Args)]
pub struct History {
    /// The context, such as `order`.
    #[arg(value_parser = setting::text())]
    context: String,
    /// The aggregate's id.
    #[arg(value_parser = setting::text())]
    id: String,
    #[command(flatten)]
    part: Part,
}

/// The part of a history; without any, all of its events.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Part {
    /// Prints the aggregate after the event of this version.
    #[arg(long, value_parser = setting::number(1..=i64::MAX.unsigned_abs()))]
    version: Option<u64>,
    /// Prints the aggregate at this time, such as `2026-11-27T10:00:00Z`.
    #[arg(long, value_parser = setting::parsed(time, "is not a time of RFC 3339, such as 2026-11-27T10:00:00Z"))]
    at: Option<OffsetDateTime>,
    /// Prints the differences between two versions.
    #[arg(long, num_args = 2, value_name = "VERSION", value_parser = setting::number(1..=i64::MAX.unsigned_abs()))]
    diff: Vec<u64>,
}

fn time(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}

impl History {
    pub(super) async fn execute(&self, operator: &Operator, printer: Printer) -> anyhow::Result<bool> {
        let Self { context, id, part: Part { version, at, diff } } = self;
        if let [before, after] = diff[..] {
            let versions = [i64::try_from(before)?, i64::try_from(after)?];
            let found = history::differences(operator, context, id, versions).await?;
            printer.print(&found, || differences_text(&found));
            return Ok(true);
        }
        let point = match (version, at) {
            (Some(version), _) => Point::Version(i64::try_from(*version)?),
            (None, Some(time)) => Point::At(*time),
            (None, None) => {
                let history = history::history(operator, context, id).await?;
                printer.print(&history, || history_text(&history));
                return Ok(true);
            }
        };
        let state = history::state(operator, context, id, point).await?;
        printer.print(&state, || serde_json::to_string_pretty(&state).unwrap_or_default());
        Ok(true)
    }
}

fn differences_text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "no differences".to_owned();
    }
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    let rows = differences.iter().map(|found| vec![found.path.clone(), value(&found.before), value(&found.after)]);
    table(&["PLACE", "BEFORE", "AFTER"], rows)
}

fn history_text(history: &Value) -> String {
    let text = |event: &Value, name: &str| match &event[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let events = history["events"].as_array().into_iter().flatten();
    let rows = events.map(|event| ["version", "time", "type", "data"].map(|name| text(event, name)).to_vec());
    table(&["VERSION", "TIME", "TYPE", "DATA"], rows)
}
