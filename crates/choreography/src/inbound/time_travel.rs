//! Time travel: an event-sourced aggregate as it was at an earlier version or time, or as it is, and the difference of two
//! versions.
//!
//! By convention, the query `<context>.query.get.<id>` takes a [`Point`] as its body; without a body it is about the present.

use std::collections::BTreeSet;
use std::fmt;
use std::iter;

use sea_orm::{ConnectionTrait, DbErr};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::inbound::event_sourced::{Decider, load, replay};
use crate::inbound::handler::HandleError;
use crate::inbound::query::{Query, QueryError};
use crate::state::event_store;
use crate::wire::envelope::{from_unix_millis, rfc3339, unix_millis};

/// A point in the history of an aggregate. As JSON `{"version": 2}` or `{"at": "2026-11-27T10:00:00Z"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Point {
    /// After the event of this version; the first one is 1.
    Version(i64),
    /// At this time, with a resolution of milliseconds.
    At(#[serde(with = "time::serde::rfc3339")] OffsetDateTime),
}

impl Point {
    /// Reads the point that a query asks for; `None` for the present.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if the body is neither empty nor a point.
    pub fn of(query: &Query) -> Result<Option<Self>, QueryError> {
        if query.body.is_empty() {
            return Ok(None);
        }
        let invalid = |error| QueryError::Invalid(format!("the body must be a version or a time: {error}"));
        serde_json::from_slice(&query.body).map(Some).map_err(invalid)
    }

    /// Returns the number of events up to this point; `None` if the history does not reach it.
    fn events(self, history: &[event_store::RecordedEvent]) -> Option<usize> {
        match self {
            Self::Version(version) => {
                usize::try_from(version).ok().filter(|version| (1..=history.len()).contains(version))
            }
            // Clocks of two instances may differ: an event counts only after those before it.
            Self::At(time) => {
                let count = history.iter().take_while(|event| event.recorded_at <= unix_millis(time)).count();
                Some(count).filter(|count| *count > 0)
            }
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "at version {version}"),
            Self::At(time) => write!(f, "at {}", rfc3339(*time)),
        }
    }
}

/// An aggregate as it was.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Past<S> {
    /// Its state.
    pub state: S,
    /// Its events up to then, at least one.
    pub events: Vec<event_store::RecordedEvent>,
}

impl<S> Past<S> {
    /// Returns its version: the number of its events.
    #[must_use]
    pub fn version(&self) -> i64 {
        i64::try_from(self.events.len()).unwrap_or(i64::MAX)
    }

    /// Returns when its last event until then was recorded.
    #[must_use]
    pub fn changed_at(&self) -> OffsetDateTime {
        self.events.last().map_or(OffsetDateTime::UNIX_EPOCH, |event| from_unix_millis(event.recorded_at))
    }
}

/// Why a past state cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// An event of the history cannot be read.
    #[error(transparent)]
    History(#[from] HandleError),
}

impl From<PastError> for QueryError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Database(error) => error.into(),
            PastError::History(HandleError::Retry(error)) => Self::Unavailable(error),
            PastError::History(error) => Self::Unavailable(error.into()),
        }
    }
}

/// An aggregate as it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Present<S> {
    /// Its state.
    pub state: S,
    /// Its version: the number of its events, at least one.
    pub version: i64,
}

/// Returns an aggregate as it is; `None` if it has no history. It reads the snapshot, and the events after it.
///
/// # Errors
///
/// [`PastError`].
pub async fn present<D: Decider>(
    decider: &D,
    connection: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<Present<D::State>>, PastError> {
    let mut loaded = load(decider, connection, iter::once(id), OffsetDateTime::UNIX_EPOCH).await?;
    let aggregate = loaded.remove(id).filter(|aggregate| aggregate.version > 0);
    Ok(aggregate.map(|aggregate| Present { state: aggregate.state, version: aggregate.version }))
}

/// Returns an aggregate as it was at a point of its history; `None` if it did not exist, or has no such version.
///
/// It reads the whole history and no snapshot.
///
/// # Errors
///
/// [`PastError`].
pub async fn past<D: Decider>(
    decider: &D,
    connection: &impl ConnectionTrait,
    id: &str,
    point: Point,
) -> Result<Option<Past<D::State>>, PastError> {
    let histories = event_store::load(connection, &[id.to_owned()]).await?;
    let Some(mut events) = histories.into_values().next() else { return Ok(None) };
    let Some(count) = point.events(&events) else { return Ok(None) };
    events.truncate(count);
    Ok(Some(Past { state: replay(decider, &events)?, events }))
}

/// A difference between two JSON values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The place, as a JSON pointer (RFC 6901).
    pub path: String,
    /// The earlier value; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The later value; `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Returns the differences between two JSON values, such as the states of two versions, in the order of their places.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(path, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(format!("{path}/{index}"), before.get(index), after.get(index), found);
            }
        }
        (before, after) => found.push(Difference { path, before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_point_is_a_version_or_a_time_and_not_both() {
        let point = |body: &str| Point::of(&Query { key: String::new(), body: body.to_owned().into() });
        assert_eq!(point("").unwrap(), None);
        assert_eq!(point(r#"{"version": 2}"#).unwrap(), Some(Point::Version(2)));
        let time = datetime!(2026-11-27 10:00 UTC);
        assert_eq!(point(r#"{"at": "2026-11-27T11:00:00+01:00"}"#).unwrap(), Some(Point::At(time)));
        let written = serde_json::to_string(&Point::At(time)).unwrap();
        assert_eq!(written, r#"{"at":"2026-11-27T10:00:00Z"}"#);
        for bad in ["{}", "null", "{\"version\": 2, \"at\": \"2026-11-27T10:00:00Z\"}", "{\"at\": \"yesterday\"}"] {
            assert!(matches!(point(bad), Err(QueryError::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn differences_name_each_place_with_both_values() {
        let before = json!({"a": 1, "b": {"c/d": [1, 2], "e": null}, "gone": true, "same": [1]});
        let after = json!({"a": 2, "b": {"c/d": [1, 3, 4], "e": null}, "new": "x", "same": [1]});
        let texts: Vec<String> =
            differences(&before, &after).iter().map(|found| serde_json::to_string(found).unwrap()).collect();
        assert_eq!(
            texts,
            [
                r#"{"path":"/a","before":1,"after":2}"#,
                r#"{"path":"/b/c~1d/1","before":2,"after":3}"#,
                r#"{"path":"/b/c~1d/2","after":4}"#,
                r#"{"path":"/gone","before":true}"#,
                r#"{"path":"/new","after":"x"}"#,
            ]
        );
        assert_eq!(differences(&before, &before), []);
    }
}
