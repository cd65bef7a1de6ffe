//! Time travel: the history of an event-sourced aggregate, the aggregate as it was, and the difference of two versions.
//!
//! The service of a context replies to `<context>.query.history.<id>` with the events, and to `<context>.query.get.<id>`
//! with the state; a [`Point`] as the body asks for an earlier one.

use std::time::Duration;

use choreography::time_travel::{self, Difference, Point};
use serde_json::Value;

use crate::Operator;
use crate::operator::AskError;

/// How long a service may take to reply.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the history of an aggregate: an object with `events`, by version.
///
/// # Errors
///
/// [`AskError`]; the aggregate may not exist.
pub async fn history(operator: &Operator, context: &str, id: &str) -> Result<Value, AskError> {
    ask(operator, context, format!("{context}.query.history.{id}"), &Value::Null).await
}

/// Returns an aggregate as it was.
///
/// # Errors
///
/// [`AskError`]; the aggregate may not have existed.
pub async fn state(operator: &Operator, context: &str, id: &str, point: Point) -> Result<Value, AskError> {
    ask(operator, context, format!("{context}.query.get.{id}"), &point).await
}

/// Returns the differences between two versions of an aggregate.
///
/// # Errors
///
/// [`AskError`]; the aggregate may not have these versions.
pub async fn differences(
    operator: &Operator,
    context: &str,
    id: &str,
    versions: [i64; 2],
) -> Result<Vec<Difference>, AskError> {
    let [before, after] = versions;
    let before = state(operator, context, id, Point::Version(before)).await?;
    let after = state(operator, context, id, Point::Version(after)).await?;
    Ok(time_travel::differences(&before, &after))
}

async fn ask(
    operator: &Operator,
    context: &str,
    subject: String,
    request: &(impl serde::Serialize + Sync),
) -> Result<Value, AskError> {
    operator.ask(&format!("the service of the context {context}"), subject, request, TIMEOUT).await
}
