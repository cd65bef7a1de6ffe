//! Removing dead letters that nobody will handle, with a reason that is kept.
//!
//! A copy goes to `dead-letter-deleted.<service>.<reason>.<key>` in the same stream first, with who removed it, when, and why:
//! it is kept as long as a dead letter is. Then the dead letter is removed. Killed in between, the dead letter is still there;
//! done again, a second copy says the same.

use messaging::clock;
use messaging::dead_letter::DELETED;
use messaging::envelope::{NATS_MESSAGE_ID, rfc3339};
use serde::Serialize;

use super::{redrive, stored};
use crate::Operator;

/// Why the dead letter was deleted, in the words of who did it.
pub const REASON: &str = "Discard-Reason";
/// When it was, RFC 3339.
pub const TIME: &str = "Discard-Time";
/// Its sequence as a dead letter.
pub const SEQUENCE: &str = "Discard-Sequence";
/// Characters of a reason that are kept.
const LONGEST: usize = 1000;

/// What became of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// Whether it is removed, with its copy kept; `false` where there was no such dead letter.
    pub deleted: bool,
}

/// Removes a dead letter for a reason.
///
/// # Errors
///
/// Where the reason is empty, or the stream does not take the copy, or the dead letter cannot be removed. Doing it again
/// is safe.
pub async fn delete(operator: &Operator, sequence: u64, reason: &str) -> anyhow::Result<Deleted> {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    anyhow::ensure!(!reason.trim().is_empty(), "a dead letter is deleted for a reason");
    let Some(dead_letter) = stored(operator, sequence).await? else {
        return Ok(Deleted { sequence, deleted: false });
    };
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in dead_letter.headers.iter() {
        // What the server acts upon, or has added when the dead letter was read.
        if !AsRef::<str>::as_ref(name).to_ascii_lowercase().starts_with("nats-") {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    headers.insert(REASON, reason.as_str());
    headers.insert(TIME, rfc3339(clock::now()).as_str());
    headers.insert(SEQUENCE, sequence.to_string().as_str());
    headers.insert(NATS_MESSAGE_ID, format!("{DELETED}/{sequence}").as_str());
    let behind = dead_letter.subject.split_once('.').map_or("", |(_, behind)| behind);
    operator.publish(format!("{DELETED}.{behind}"), headers, dead_letter.body).await?;
    anyhow::ensure!(redrive::remove(operator, sequence).await, "dead letter {sequence} could not be removed");
    Ok(Deleted { sequence, deleted: true })
}
