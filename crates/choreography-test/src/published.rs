//! An outgoing message, as a test expects it or as a service published it, and the differences of two lists.

use std::fmt::{self, Write as _};

use choreography::envelope::{AGGREGATE_VERSION, SUBJECT, TYPE, rfc3339};
use choreography::testing::StoredMessage;
use choreography::{Publish, Timer, Timing};
use serde_json::Value;
use time::OffsetDateTime;

/// An outgoing message: its type, key, body, version, and timing.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The type, such as `order.placed.v1`.
    pub message_type: String,
    /// The business id of the message.
    pub key: String,
    /// The version of the aggregate after this event; `None` if the event changes no aggregate.
    pub version: Option<i64>,
    /// When it is delivered.
    pub timing: Timing,
    /// The body.
    pub body: Value,
}

/// Expects an event or a command, without a version and delivered at once.
///
/// # Panics
///
/// If the body cannot be encoded as JSON.
#[track_caller]
#[must_use]
pub fn published(message: impl Publish) -> Published {
    let body = match serde_json::to_value(&message) {
        Ok(body) => body,
        Err(error) => panic!("the body of {} cannot be encoded as JSON: {error}", message.message_type()),
    };
    Published {
        message_type: message.message_type().to_owned(),
        key: message.key().to_owned(),
        version: None,
        timing: Timing::Now,
        body,
    }
}

/// Expects that a timer is scheduled for a time, in whole seconds.
///
/// # Panics
///
/// As for [`published`].
#[track_caller]
#[must_use]
pub fn scheduled(timer: impl Timer, time: OffsetDateTime) -> Published {
    let target = timer.subject();
    Published { timing: Timing::At { time, target }, ..published(timer) }
}

/// Expects that a timer is cancelled.
///
/// # Panics
///
/// As for [`published`].
#[track_caller]
#[must_use]
pub fn cancelled(timer: impl Timer) -> Published {
    Published { timing: Timing::Cancel, ..published(timer) }
}

impl Published {
    /// Sets the expected version of the aggregate.
    #[must_use]
    pub fn version(self, version: i64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Reads a message that a service published. A body that is not JSON becomes a text.
    pub(crate) fn read(message: &StoredMessage) -> Self {
        let header = |name| message.header(name).unwrap_or_default().to_owned();
        Self {
            message_type: header(TYPE),
            key: header(SUBJECT),
            version: message.header(AGGREGATE_VERSION).and_then(|version| version.parse().ok()),
            timing: message.timing(),
            body: serde_json::from_slice(&message.body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.body).into_owned())),
        }
    }

    /// The message without its body, as one line.
    fn line(&self) -> String {
        let version = self.version.map_or_else(String::new, |version| format!(", version {version}"));
        let timing = match &self.timing {
            Timing::Now => String::new(),
            Timing::At { time, .. } => format!(", scheduled for {}", rfc3339(*time)),
            Timing::Cancel => ", schedule cancelled".to_owned(),
        };
        format!("{} of {}{version}{timing}", self.message_type, self.key)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.line(), self.body)
    }
}

/// Describes how two lists of messages differ; `None` if they are equal.
///
/// Equal messages are one line. Of messages of the same type, only the different parts of the bodies are shown.
pub(crate) fn differences(expected: &[Published], actual: &[Published]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let mut text = String::new();
    for index in 0..expected.len().max(actual.len()) {
        // Writing to a text cannot fail.
        let _ = match (expected.get(index), actual.get(index)) {
            (Some(expected), Some(actual)) if expected == actual => writeln!(text, "    {}", expected.line()),
            (Some(expected), Some(actual)) if expected.message_type == actual.message_type => {
                let (one, other) = (expected.line(), actual.line());
                let lines = if one == other { format!("  ≠ {one}\n") } else { pair(&one, &other) };
                text.push_str(&lines);
                body_differences("body", &expected.body, &actual.body, &mut text)
            }
            (Some(expected), Some(actual)) => write!(text, "{}", pair(&expected.to_string(), &actual.to_string())),
            (Some(expected), None) => writeln!(text, "  - expected  {expected}"),
            (None, Some(actual)) => writeln!(text, "  + published {actual}"),
            (None, None) => Ok(()),
        };
    }
    Some(text)
}

fn pair(expected: &str, actual: &str) -> String {
    format!("  - expected  {expected}\n  + published {actual}\n")
}

/// Lists the fields that differ, by their path.
fn body_differences(path: &str, expected: &Value, actual: &Value, text: &mut String) -> fmt::Result {
    match (expected, actual) {
        _ if expected == actual => Ok(()),
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            let mut fields = names.map(|name| (name, one.get(name), other.get(name)));
            fields.try_for_each(|(name, one, other)| match (one, other) {
                (Some(one), Some(other)) => body_differences(&format!("{path}.{name}"), one, other, text),
                _ => writeln!(text, "      {path}.{name}: expected {}, published {}", or_none(one), or_none(other)),
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.try_for_each(|(index, (one, other))| {
                body_differences(&format!("{path}[{index}]"), one, other, text)
            })
        }
        _ => writeln!(text, "      {path}: expected {expected}, published {actual}"),
    }
}

fn or_none(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
