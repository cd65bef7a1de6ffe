//! The one mapping of errors to HTTP: RFC 9457 problems with stable codes.
//!
//! A client branches on `code` (or `type`, which is `/problems/<code>`); `title` and `detail` are for people. Internal
//! causes are logged where they occur and never part of a response.
//!
//! An application has further codes, and may reword those of the library: see [`Vocabulary`].

use std::marker::PhantomData;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde_json::{Value, json};

use crate::code::Code;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The maximum number of errors in one problem.
const MAX_ERRORS: usize = 100;

/// What an application adds to the problems of the library.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary {
    /// Its codes. One with the text of a library's code replaces its title and its meaning.
    pub codes: &'static [Code],
    /// The additional members of its problems, each with its schema.
    pub members: &'static [Member],
    /// Masks what must not be in a response; it is applied to every name and detail of a [`FieldError`].
    pub mask: fn(String) -> String,
}

/// An additional member of problems: its name and its schema.
pub type Member = (&'static str, fn() -> MetaSchema);

static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();

impl Vocabulary {
    /// Sets the vocabulary of this process. Call it before the first request; further calls have no effect.
    pub fn install(self) {
        VOCABULARY.get_or_init(|| self);
    }

    fn installed() -> Self {
        VOCABULARY.get().copied().unwrap_or(Self { codes: &[], members: &[], mask: |text| text })
    }

    /// Returns the codes of the library and of the application, as worded by the application.
    pub(crate) fn codes() -> impl Iterator<Item = Code> {
        let own = Self::installed().codes;
        let others = Code::ALL.iter().filter(|code| !own.contains(code));
        own.iter().chain(others).copied()
    }
}

/// Returns a code as worded by the application.
fn worded(code: Code) -> Code {
    Vocabulary::codes().find(|known| *known == code).unwrap_or(code)
}

/// An error in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `pointer` (a JSON pointer, RFC 6901, into the body), `parameter` (of the path or the query), or `header`.
    place: &'static str,
    name: String,
    detail: String,
}

impl FieldError {
    /// Creates an error for a field of the body.
    pub fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("pointer", pointer, detail)
    }

    /// Creates an error for a parameter of the path or the query.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("parameter", name, detail)
    }

    /// Creates an error for a header.
    pub fn header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new("header", name, detail)
    }

    fn new(place: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place, name: masked(name), detail: masked(detail) }
    }

    fn describe(&self) -> String {
        match (self.place, self.name.as_str()) {
            ("pointer", "") => format!("the body {}", self.detail),
            (_, name) => format!("{name} {}", self.detail),
        }
    }
}

fn masked(text: impl Into<String>) -> String {
    (Vocabulary::installed().mask)(text.into())
}

/// An error response.
#[derive(Debug, Clone)]
pub struct Problem(Box<Content>);

#[derive(Debug, Clone)]
struct Content {
    code: Code,
    detail: String,
    member: Option<(&'static str, Value)>,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, String)>,
}

impl Problem {
    /// Creates a problem whose detail is the meaning of its code.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self::with_detail(code, worded(code).meaning)
    }

    /// Creates a problem with a specific detail.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let headers = match code.status {
            StatusCode::SERVICE_UNAVAILABLE => vec![(header::RETRY_AFTER, "1".to_owned())],
            _ => vec![],
        };
        Self(Box::new(Content { code, detail: detail.into(), member: None, errors: vec![], headers }))
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Sets when to send the request again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, seconds.to_string())
    }

    /// Creates a problem from all errors in a request; the detail describes the first.
    #[must_use]
    pub fn with_errors(code: Code, mut errors: Vec<FieldError>) -> Self {
        let more = match errors.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = errors.first().map(FieldError::describe).unwrap_or_default();
        errors.truncate(MAX_ERRORS);
        let mut problem = Self::with_detail(code, first + &more);
        problem.0.errors = errors;
        problem
    }

    /// Creates the problem for a method that the path does not have.
    #[must_use]
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::with_detail(Code::METHOD_NOT_ALLOWED, format!("This path has {allowed}."))
            .header(header::ALLOW, allowed.to_owned())
    }

    /// Adds a member that [`Vocabulary::members`] declares.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.member = Some((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: String) -> Self {
        self.0.headers.retain(|(known, _)| *known != name);
        self.0.headers.push((name, value));
        self
    }

    /// Returns the problem as JSON, as in responses.
    #[must_use]
    pub fn json(&self) -> String {
        let Content { code, detail, member, errors, .. } = &*self.0;
        let code = worded(*code);
        let mut json = json!({
            "type": format!("/problems/{}", code.text),
            "title": code.title,
            "status": code.status.as_u16(),
            "detail": detail,
            "code": code.text,
        });
        if let Some((name, value)) = member {
            json[name] = value.clone();
        }
        if !errors.is_empty() {
            let errors = errors.iter();
            json["errors"] =
                errors.map(|error| json!({ (error.place): error.name, "detail": error.detail })).collect();
        }
        json.to_string()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response =
            Response::builder().status(self.0.code.status).content_type(PROBLEM_JSON).body(self.json());
        for (name, value) in self.0.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

/// An error (RFC 9457).
#[derive(Object)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// `/problems/<code>`, a relative reference to an explanation.
    r#type: String,
    /// A short title, the same for every problem of this type.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The error in this request, for people.
    detail: String,
    /// The error, for programs; part of the contract.
    code: String,
    /// The errors in the request, if they can be located.
    #[oai(default)]
    errors: Vec<ErrorBody>,
}

/// An error in a request: exactly one of `pointer`, `parameter` and `header` locates it.
#[derive(Object)]
#[oai(rename = "ProblemError")]
struct ErrorBody {
    /// A JSON pointer (RFC 6901) into the body; empty for the body as a whole.
    pointer: Option<String>,
    /// A parameter of the path or the query.
    parameter: Option<String>,
    /// A header.
    header: Option<String>,
    /// The constraint that is violated.
    detail: String,
}

/// The problem codes of an operation, for OpenAPI.
pub trait Codes {
    /// The codes, in groups; those of one status are listed in this sequence.
    const CODES: &'static [&'static [Code]];
}

/// Declares the problem codes of operations, in groups:
///
/// ```
/// use choreography_http::code::Code;
/// use choreography_http::failures;
///
/// failures! {
///     /// The errors of `POST /bookings`.
///     BookFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY;
/// }
/// ```
#[macro_export]
macro_rules! failures {
    ($( $(#[$doc:meta])* $name:ident = $($group:expr),+; )+) => { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl $crate::problem::Codes for $name {
            const CODES: &'static [&'static [$crate::code::Code]] = &[$($group),+];
        }
    )+ };
}

/// A [`Problem`] of an operation that declares its codes.
pub struct Failure<C>(Problem, PhantomData<fn() -> C>);

impl<C> From<Problem> for Failure<C> {
    fn from(problem: Problem) -> Self {
        Self(problem, PhantomData)
    }
}

impl<C> From<Failure<C>> for poem::Error {
    fn from(failure: Failure<C>) -> Self {
        failure.0.into()
    }
}

impl<C: Codes> ApiResponse for Failure<C> {
    fn meta() -> MetaResponses {
        let codes = || C::CODES.iter().copied().flatten();
        let mut statuses: Vec<StatusCode> = codes().map(|code| code.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let responses = statuses.into_iter().map(|status| {
            let codes = codes().filter(|code| code.status == status);
            let lines: Vec<String> =
                codes.map(|code| format!("`{}`: {}", code.text, worded(*code).meaning)).collect();
            MetaResponse {
                // Descriptions are static in poem-openapi, and the document is built once per process.
                description: lines.join("\n\n").leak(),
                status: Some(status.as_u16()),
                status_range: None,
                content: vec![MetaMediaType { content_type: PROBLEM_JSON, schema: ProblemBody::schema_ref() }],
                headers: vec![],
            }
        });
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        let name = ProblemBody::name();
        if registry.schemas.contains_key(name.as_ref()) {
            return;
        }
        ProblemBody::register(registry);
        if let Some(schema) = registry.schemas.get_mut(name.as_ref()) {
            let members = Vocabulary::installed().members.iter();
            schema
                .properties
                .extend(members.map(|(name, schema)| (*name, MetaSchemaRef::Inline(Box::new(schema())))));
        }
    }
}

/// Logs the cause of an internal error, and returns the problem, which does not contain it.
#[must_use]
pub fn internal(error: &dyn std::fmt::Display, what: &str) -> Problem {
    tracing::error!(error = format!("{error:#}"), "{what}");
    Problem::new(Code::INTERNAL)
}

/// How often refused requests are logged: an outage refuses every request, and readiness reports the outage.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The requests that were refused since the last log line.
#[derive(Default)]
struct Refused {
    requests: u64,
    logged: Option<Instant>,
}

impl Refused {
    /// Counts a request; returns the count since the last log line if another line is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.requests += 1;
        if self.logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.requests))
    }
}

/// Logs why a request is refused, at most every 10 s, and returns the problem, which does not contain the reason.
#[must_use]
pub fn unavailable(why: &str) -> Problem {
    static REFUSED: Mutex<Refused> = Mutex::new(Refused { requests: 0, logged: None });
    let due = REFUSED.lock().unwrap_or_else(PoisonError::into_inner).count(Instant::now());
    match due {
        Some(requests) => {
            tracing::warn!(why, requests, "requests are refused with 503 until a dependency is available again")
        }
        None => tracing::debug!(why, "a request is refused with 503"),
    }
    Problem::new(Code::UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_every_ten_seconds_and_not_per_request() {
        let (mut refused, start) = (Refused::default(), Instant::now());
        assert_eq!(refused.count(start), Some(1));
        for second in 1..10 {
            assert_eq!(refused.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(refused.count(start + LOG_INTERVAL), Some(10));
        assert_eq!(refused.count(start + LOG_INTERVAL), None);
    }
}
