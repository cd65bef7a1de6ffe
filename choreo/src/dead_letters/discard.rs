//! Removing dead letters that nobody will handle, with a reason that is kept.
//!
//! A copy goes to `discarded.<service>.<reason>.<key>` in the same stream first, with who removed it, when, and why:
//! it is kept as long as a dead letter is. Then the letter is removed. Killed in between, the letter is still there;
//! done again, a second copy says the same.

use messaging::clock;
use messaging::dead_letter::DISCARDED;
use messaging::envelope::{NATS_MESSAGE_ID, rfc3339};
use serde::Serialize;

use super::{redrive, stored};
use crate::Operator;

/// Why the letter was discarded, in the words of who did it.
pub const REASON: &str = "Discard-Reason";
/// When it was, RFC 3339.
pub const TIME: &str = "Discard-Time";
/// Its sequence as a dead letter.
pub const SEQUENCE: &str = "Discard-Sequence";
/// Characters of a reason that are kept.
const LONGEST: usize = 1000;

/// What became of one letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Discarded {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// Whether it is removed, with its copy kept; `false` where there was no such letter.
    pub discarded: bool,
}

/// Removes a letter for a reason.
///
/// # Errors
///
/// Where the reason is empty, or the stream does not take the copy, or the letter cannot be removed. Doing it again
/// is safe.
pub async fn discard(operator: &Operator, sequence: u64, because: &str) -> anyhow::Result<Discarded> {
    let because: String = because.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    anyhow::ensure!(!because.trim().is_empty(), "a letter is discarded for a reason");
    let Some(letter) = stored(operator, sequence).await? else {
        return Ok(Discarded { sequence, discarded: false });
    };
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in letter.headers.iter() {
        // What the server acts upon, or has added when the letter was read.
        if !AsRef::<str>::as_ref(name).to_ascii_lowercase().starts_with("nats-") {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    headers.insert(REASON, because.as_str());
    headers.insert(TIME, rfc3339(clock::now()).as_str());
    headers.insert(SEQUENCE, sequence.to_string().as_str());
    headers.insert(NATS_MESSAGE_ID, format!("{DISCARDED}/{sequence}").as_str());
    let behind = letter.subject.split_once('.').map_or("", |(_, behind)| behind);
    operator.publish(format!("{DISCARDED}.{behind}"), headers, letter.body).await?;
    anyhow::ensure!(redrive::remove(operator, sequence).await, "letter {sequence} could not be removed");
    Ok(Discarded { sequence, discarded: true })
}
