//! The bodies of the operations on dead letters.

use choreography_ops::dead_letters::redrive::Ramp;
use poem_openapi::Object;
use serde_json::Value;

use crate::body::{Fields, Form, text};

/// The most dead letters that one request redrives: 1 + 2 + 4 + … + 64, which takes seven seconds.
const MAX_REDRIVE: usize = 127;
/// The most characters a reason may have.
const MAX_REASON: usize = 1000;

/// The dead letters to redrive.
#[derive(Object)]
#[oai(rename = "RedriveDeadLetters", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RedriveSchema {
    /// The sequences, each at most once; the dead letters are redriven in this order.
    #[oai(validator(min_items = "1", max_items = "127", unique_items))]
    sequences: Vec<u64>,
    /// Also redrive dead letters outside the service's deduplication window, which it may have processed since; the
    /// default is `false`.
    force: Option<bool>,
    /// How many may fail again before the redrive stops; the default is 0.
    #[oai(validator(minimum(value = "0"), maximum(value = "127")))]
    max_failures: Option<u64>,
}

/// The dead letters to redrive, and the options.
pub(crate) struct RedriveForm {
    /// The sequences.
    pub(crate) sequences: Vec<u64>,
    /// The rate and the limits.
    pub(crate) ramp: Ramp,
}

impl Form for RedriveForm {
    type Schema = RedriveSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let sequences = fields.required("sequences", sequences);
        let force = fields.optional("force", |value| value.as_bool().ok_or_else(|| "must be a boolean".to_owned()));
        let max_failures = fields.optional("maxFailures", max_failures);
        let ramp =
            Ramp { force: force?.unwrap_or(false), max_failures: max_failures?.unwrap_or(0), ..Ramp::default() };
        Some(Self { sequences: sequences?, ramp })
    }
}

fn sequences(value: &Value) -> Result<Vec<u64>, String> {
    let values = value.as_array().filter(|values| (1..=MAX_REDRIVE).contains(&values.len()));
    let sequences: Option<Vec<u64>> = values.and_then(|values| values.iter().map(Value::as_u64).collect());
    let once = |sequences: &Vec<u64>| (1..sequences.len()).all(|end| !sequences[..end].contains(&sequences[end]));
    sequences
        .filter(once)
        .ok_or_else(|| format!("must be the sequences of 1 to {MAX_REDRIVE} dead letters, each once"))
}

fn max_failures(value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= MAX_REDRIVE);
    count.ok_or_else(|| format!("must be a whole number from 0 to {MAX_REDRIVE}"))
}

/// The reason for deleting a dead letter.
#[derive(Object)]
#[oai(rename = "DeleteDeadLetter", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeleteDeadLetterSchema {
    /// The reason, in words. Control characters become spaces.
    #[oai(validator(min_length = 1, max_length = 1000))]
    reason: String,
}

/// A valid reason for deleting a dead letter.
pub(crate) struct DeleteDeadLetterForm {
    /// The reason; not blank.
    pub(crate) reason: String,
}

impl Form for DeleteDeadLetterForm {
    type Schema = DeleteDeadLetterSchema;

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { reason: fields.required("reason", text(reason))? })
    }
}

fn reason(text: String) -> Result<String, String> {
    let has_text = text.chars().any(|c| !c.is_control() && !c.is_whitespace());
    if has_text && text.chars().count() <= MAX_REASON {
        Ok(text)
    } else {
        Err(format!("must be a reason of at most {MAX_REASON} characters"))
    }
}
