//! The output of the program: tables, or JSON.

pub(crate) mod board;
pub(crate) mod timeline;

use choreography::process::print;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Prints in the selected format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
}

impl Printer {
    /// Prints a value as one line of JSON, or as text.
    pub(crate) fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            match serde_json::to_string(value) {
                Ok(line) => print(line),
                Err(error) => tracing::error!(%error, "cannot serialise a result as JSON"),
            }
        } else {
            print(text());
        }
    }
}

/// Makes a table of columns with headings.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(heading);
    table.add_rows(rows);
    table.to_string()
}

/// Formats an age, rounded.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
