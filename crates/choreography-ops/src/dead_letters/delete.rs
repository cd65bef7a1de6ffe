//! Deletes dead letters that are not to be handled, and keeps the reason.
//!
//! First a copy with the reason and the time is published on `dead-letter-deleted.<service>.<reason>.<key>` in the
//! same stream, where it is kept as long as a dead letter. Then the dead letter is removed. If the program is killed
//! in between, the dead letter is still there; deleting it again publishes the copy again.

use choreography::clock;
use choreography::dead_letter::DELETED;
use choreography::envelope::{NATS_MESSAGE_ID, rfc3339};
use serde::Serialize;

use super::{redrive, stored};
use crate::{OperationError, Operator};

/// The header with the operator's reason.
pub const REASON: &str = "Deletion-Reason";
/// The header with the time of the deletion, RFC 3339.
pub const TIME: &str = "Deletion-Time";
/// The header with the sequence of the dead letter.
pub const SEQUENCE: &str = "Deletion-Sequence";
/// The maximum length of a reason, in characters; the rest is cut off.
const MAX_REASON: usize = 1000;

/// The result of deleting one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Deleted {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// Whether it is removed and its copy kept; `false` if there was no such dead letter.
    pub deleted: bool,
}

/// Deletes a dead letter and keeps a copy with the reason.
///
/// # Errors
///
/// [`OperationError::Invalid`] if the reason is empty. [`OperationError::Unavailable`] if the stream does not store the
/// copy, or the dead letter cannot be removed. Repeating it is safe.
pub async fn delete(operator: &Operator, sequence: u64, reason: &str) -> Result<Deleted, OperationError> {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect();
    if reason.trim().is_empty() {
        return Err(OperationError::Invalid("a dead letter cannot be deleted without a reason".to_owned()));
    }
    let Some(dead_letter) = stored(operator, sequence).await? else {
        return Ok(Deleted { sequence, deleted: false });
    };
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in dead_letter.headers.iter() {
        // Headers that nats-server interprets, or added when the dead letter was read.
        if !AsRef::<str>::as_ref(name).to_ascii_lowercase().starts_with("nats-") {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    headers.insert(REASON, reason.as_str());
    headers.insert(TIME, rfc3339(clock::now()).as_str());
    headers.insert(SEQUENCE, sequence.to_string().as_str());
    headers.insert(NATS_MESSAGE_ID, format!("{DELETED}/{sequence}").as_str());
    let rest = dead_letter.subject.split_once('.').map_or("", |(_, rest)| rest);
    operator.publish(format!("{DELETED}.{rest}"), headers, dead_letter.body).await?;
    if !redrive::remove(operator, sequence).await {
        return Err(anyhow::anyhow!("dead letter {sequence} could not be removed").into());
    }
    Ok(Deleted { sequence, deleted: true })
}
