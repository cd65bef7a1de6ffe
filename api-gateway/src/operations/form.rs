//! The bodies of the operations on dead letters.

use choreography_http::form::{Fields, Form, length, limited, schema_of, text};
use choreography_ops::dead_letters::redrive::Ramp;
use poem_openapi::registry::MetaSchema;
use serde_json::Value;

/// The most dead letters that one request redrives: 1 + 2 + 4 + … + 64, which takes seven seconds.
const MAX_REDRIVE: u8 = 127;
/// The most characters a reason may have.
const MAX_REASON: usize = 1000;

/// The dead letters to redrive, and the options.
pub(crate) struct RedriveForm {
    /// The sequences.
    pub(crate) sequences: Vec<u64>,
    /// The rate and the limits.
    pub(crate) ramp: Ramp,
}

impl Form for RedriveForm {
    type Value = Self;
    const NAME: &'static str = "RedriveDeadLetters";
    const ABOUT: &'static str = "The dead letters to redrive.";

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let limits = MetaSchema {
            min_items: Some(1),
            max_items: Some(MAX_REDRIVE.into()),
            unique_items: Some(true),
            ..MetaSchema::ANY
        };
        let about = "The sequences, each at most once; the dead letters are redriven in this order.";
        let sequences = fields.required("sequences", (limited::<Vec<u64>>(limits), sequences), about);
        let boolean = |value: &Value| value.as_bool().ok_or_else(|| "must be a boolean".to_owned());
        let about = "Also redrive dead letters outside the service's deduplication window, which it may have processed \
                     since; the\ndefault is `false`.";
        let force = fields.optional("force", (schema_of::<bool>(), boolean), about);
        let limits = MetaSchema { minimum: Some(0.0), maximum: Some(MAX_REDRIVE.into()), ..MetaSchema::ANY };
        let about = "How many may fail again before the redrive stops; the default is 0.";
        let max_failures = fields.optional("maxFailures", (limited::<u64>(limits), max_failures), about);
        let ramp =
            Ramp { force: force?.unwrap_or(false), max_failures: max_failures?.unwrap_or(0), ..Ramp::default() };
        Some(Self { sequences: sequences?, ramp })
    }
}

fn sequences(value: &Value) -> Result<Vec<u64>, String> {
    let values = value.as_array().filter(|values| (1..=MAX_REDRIVE.into()).contains(&values.len()));
    let sequences: Option<Vec<u64>> = values.and_then(|values| values.iter().map(Value::as_u64).collect());
    let once = |sequences: &Vec<u64>| (1..sequences.len()).all(|end| !sequences[..end].contains(&sequences[end]));
    sequences
        .filter(once)
        .ok_or_else(|| format!("must be the sequences of 1 to {MAX_REDRIVE} dead letters, each once"))
}

fn max_failures(value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| u8::try_from(count).ok()).filter(|count| *count <= MAX_REDRIVE);
    count.map(usize::from).ok_or_else(|| format!("must be a whole number from 0 to {MAX_REDRIVE}"))
}

/// A valid reason for deleting a dead letter; not blank.
pub(crate) struct DeleteDeadLetterForm(pub(crate) String);

impl Form for DeleteDeadLetterForm {
    type Value = Self;
    const NAME: &'static str = "DeleteDeadLetter";
    const ABOUT: &'static str = "The reason for deleting a dead letter.";

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let about = "The reason, in words. Control characters become spaces.";
        Some(Self(fields.required("reason", text(length(1..=MAX_REASON), reason), about)?))
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
