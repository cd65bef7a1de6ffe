//! The one mapping of errors to HTTP: RFC 9457 problems with stable codes.
//!
//! A client branches on `code` (or `type`, which is `/problems/<code>`); `title` and `detail` are for people. What
//! goes on inside is logged where it happens and never part of an answer.

use std::marker::PhantomData;

use contracts::account::looks_like_a_card_number;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The most errors one problem lists.
const MAX_ERRORS: usize = 100;

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $text:literal, $status:ident, $title:literal, $meaning:literal; )+) => {
        /// What is wrong, as clients see it. The texts are part of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $( #[doc = $meaning] $variant, )+
        }

        impl Code {
            /// All codes.
            pub(crate) const ALL: &[Self] = &[$( Self::$variant ),+];

            /// Returns the code as it stands in an answer.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// Returns the HTTP status that goes with the code.
            pub(crate) fn status(self) -> StatusCode {
                match self { $( Self::$variant => StatusCode::$status, )+ }
            }

            /// Returns a few words that are the same for every problem with this code.
            pub(crate) fn title(self) -> &'static str {
                match self { $( Self::$variant => $title, )+ }
            }

            /// Returns what the code means and what to do about it.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning, )+ }
            }
        }
    };
}

codes! {
    InvalidParameter = "invalid-parameter", BAD_REQUEST, "Invalid parameter",
        "An id in the path, a query parameter, or a header cannot be used. `errors` names each of them.";
    MalformedJson = "malformed-json", BAD_REQUEST, "Malformed JSON",
        "The body is no JSON, or names a key twice. `detail` says where, by line and column.";
    UnreadableRequest = "unreadable-request", BAD_REQUEST, "Unreadable request",
        "The request is not HTTP that can be read to its end.";
    RouteNotFound = "route-not-found", NOT_FOUND, "No such path",
        "Nothing is served at this path. `/docs` lists what is.";
    OrderNotFound = "order-not-found", NOT_FOUND, "No such order",
        "The order does not exist, or its command has not been handled yet.";
    ProductNotFound = "product-not-found", NOT_FOUND, "No such product",
        "The product does not exist, or its first restock has not been handled yet.";
    AccountNotFound = "account-not-found", NOT_FOUND, "No such account",
        "The customer has no account, or the command that creates it has not been handled yet.";
    PaymentNotFound = "payment-not-found", NOT_FOUND, "No such payment",
        "The order does not exist, or the payment service has not heard of it yet.";
    MessageNotFound = "message-not-found", NOT_FOUND, "No such message",
        "The stream holds no message with this sequence about this order (any more).";
    DeadLetterNotFound = "dead-letter-not-found", NOT_FOUND, "No such dead letter",
        "There is no dead letter with this sequence (any more).";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path exists, but not with this method. `Allow` lists those it has.";
    OrderAlreadyConfirmed = "order-already-confirmed", CONFLICT, "Order already confirmed",
        "The order is confirmed, which is final; it cannot be cancelled any more.";
    AccountAlreadyExists = "account-already-exists", CONFLICT, "Account already exists",
        "The customer has an account that says something else; nothing changed. Change it with `PUT`.";
    AccountHasChanged = "account-has-changed", PRECONDITION_FAILED, "Account has changed",
        "The account is not at the version that `If-Match` names; nothing changed. `version` and the header `ETag` are \
         the version it has. Read the account, and make the change again.";
    MisdirectedRequest = "misdirected-request", MISDIRECTED_REQUEST, "Not for this host",
        "The `Host` of the request is no name of this gateway: use `127.0.0.1` or `localhost`, or configure \
         `ALLOWED_HOSTS`.";
    ForeignOrigin = "foreign-origin", FORBIDDEN, "Foreign origin",
        "Only pages of the gateway itself, and of origins in `ALLOWED_ORIGINS`, may send requests. Nothing was done.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body is larger than 64 KiB.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be `application/json` in UTF-8, without a content encoding.";
    Validation = "validation", UNPROCESSABLE_ENTITY, "Invalid content",
        "The body is JSON, but some of its fields cannot be used. `errors` names each of them.";
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "The `Idempotency-Key` was used for a request with other content. Take a new key for a new request.";
    OrderIdAlreadyUsed = "order-id-already-used", UNPROCESSABLE_ENTITY, "Order id already used",
        "The id belongs to an order with other content; nothing changed.";
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "Precondition required",
        "A change must say which version it was made on: `If-Match` with the `ETag` of the account as it was read.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "A part of the shop does not answer now. Send the same request again after `Retry-After` seconds: a command \
         is not carried out twice if its request names its order or has an `Idempotency-Key`.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "More is under way than the shop can take in. Nothing of this request was stored; send it again after \
         `Retry-After` seconds.";
    IdempotencyKeysFull = "idempotency-keys-full", SERVICE_UNAVAILABLE, "Too many idempotency keys",
        "As many idempotency keys are remembered as there is room for. Nothing of this request was stored. Send it again \
         after `Retry-After` seconds, when the oldest key expires, or without `Idempotency-Key`.";
    TooManyStreams = "too-many-streams", SERVICE_UNAVAILABLE, "Too many event streams",
        "As many clients follow the events as this gateway serves. Try again after `Retry-After` seconds.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "The gateway failed. What happened is in its log.";
}

/// Which part of a request an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A parameter of the path or the query.
    Parameter(String),
    /// A header.
    Header(String),
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    place: Place,
    detail: String,
}

impl FieldError {
    /// Makes an error about a field of the body.
    pub(crate) fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Pointer(masked(pointer)), detail)
    }

    /// Makes an error about a parameter of the path or the query.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Parameter(masked(name)), detail)
    }

    /// Makes an error about a header.
    pub(crate) fn header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Header(masked(name)), detail)
    }

    fn new(place: Place, detail: impl Into<String>) -> Self {
        Self { place, detail: masked(detail) }
    }

    fn describe(&self) -> String {
        match &self.place {
            Place::Pointer(pointer) if pointer.is_empty() => format!("the body {}", self.detail),
            Place::Pointer(name) | Place::Parameter(name) | Place::Header(name) => {
                format!("{name} {}", self.detail)
            }
        }
    }
}

/// Hides what looks like the number of a card: answers end up in other people's logs. A field can be called like one.
fn masked(text: impl Into<String>) -> String {
    let text = text.into();
    if looks_like_a_card_number(&text) {
        text.chars().map(|c| if c.is_numeric() { '*' } else { c }).collect()
    } else {
        text
    }
}

/// An answer that says what is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    version: Option<i64>,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, String)>,
}

impl Problem {
    /// Makes a problem whose detail is the meaning of its code.
    pub(crate) fn new(code: Code) -> Self {
        Self::with_detail(code, code.meaning())
    }

    /// Makes a problem with particulars for people.
    pub(crate) fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let headers = match code.status() {
            StatusCode::SERVICE_UNAVAILABLE => vec![(header::RETRY_AFTER, "1".to_owned())],
            _ => vec![],
        };
        Self { code, detail: detail.into(), version: None, errors: vec![], headers }
    }

    /// Sets when to send the request again, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.retain(|(name, _)| name != header::RETRY_AFTER);
        self.headers.push((header::RETRY_AFTER, seconds.to_string()));
        self
    }

    /// Makes a problem out of everything that is wrong with a request; the detail names the first.
    pub(crate) fn with_errors(code: Code, mut errors: Vec<FieldError>) -> Self {
        let more = match errors.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = errors.first().map(FieldError::describe).unwrap_or_default();
        errors.truncate(MAX_ERRORS);
        Self { errors, ..Self::with_detail(code, first + &more) }
    }

    /// Makes the answer to a method that a path does not have.
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let problem = Self::with_detail(Code::MethodNotAllowed, format!("This path has {allowed}."));
        Self { headers: vec![(header::ALLOW, allowed.to_owned())], ..problem }
    }

    /// Makes the answer to a change that was made on another version than the account has.
    pub(crate) fn account_has_changed(version: i64) -> Self {
        let problem =
            Self::with_detail(Code::AccountHasChanged, format!("The account is at version {version} by now."));
        Self { version: Some(version), headers: vec![(header::ETAG, format!("\"{version}\""))], ..problem }
    }

    /// Returns the problem as it stands in an answer.
    pub(crate) fn json(&self) -> String {
        self.body().to_json_string()
    }

    fn body(&self) -> ProblemBody {
        let errors = self.errors.iter().map(|error| {
            let (mut pointer, mut parameter, mut header) = (None, None, None);
            match &error.place {
                Place::Pointer(text) => pointer = Some(text.clone()),
                Place::Parameter(text) => parameter = Some(text.clone()),
                Place::Header(text) => header = Some(text.clone()),
            }
            ErrorBody { pointer, parameter, header, detail: error.detail.clone() }
        });
        ProblemBody {
            r#type: format!("/problems/{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            version: self.version,
            errors: errors.collect(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response =
            Response::builder().status(self.code.status()).content_type(PROBLEM_JSON).body(self.json());
        for (name, value) in self.headers {
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

/// What is wrong with a request, or with the shop (RFC 9457).
#[derive(Debug, Object)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// `/problems/<code>`, a relative reference that says more when followed.
    r#type: String,
    /// A few words, the same for every problem of this type.
    title: String,
    /// The HTTP status, again.
    status: u16,
    /// What is wrong with this request, for people.
    detail: String,
    /// What is wrong, for programs; part of the contract.
    code: String,
    /// With `account-has-changed`: the version that the account has.
    #[oai(skip_serializing_if_is_none)]
    version: Option<i64>,
    /// Each thing that is wrong, where it can be named.
    #[oai(skip_serializing_if_is_empty, default)]
    errors: Vec<ErrorBody>,
}

/// One thing that is wrong with a request: exactly one of `pointer`, `parameter` and `header` says where.
#[derive(Debug, Object)]
#[oai(rename = "ProblemError")]
struct ErrorBody {
    /// A JSON pointer (RFC 6901) into the body; empty for the body as a whole.
    #[oai(skip_serializing_if_is_none)]
    pointer: Option<String>,
    /// A parameter of the path or the query.
    #[oai(skip_serializing_if_is_none)]
    parameter: Option<String>,
    /// A header.
    #[oai(skip_serializing_if_is_none)]
    header: Option<String>,
    /// What it must be.
    detail: String,
}

/// The codes with which an operation may fail; what OpenAPI says about it.
pub(crate) trait Codes {
    /// Those codes, in the order of their statuses.
    const CODES: &'static [Code];
}

/// A [`Problem`] out of an operation that declares its codes.
pub(crate) struct Failure<C>(Problem, PhantomData<fn() -> C>);

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
        let mut statuses: Vec<StatusCode> = C::CODES.iter().map(|code| code.status()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let responses = statuses.into_iter().map(|status| {
            let codes = C::CODES.iter().filter(|code| code.status() == status);
            let lines: Vec<String> = codes.map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
            MetaResponse {
                // Descriptions are static in poem-openapi, and the document is made once in a process.
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
        ProblemBody::register(registry);
    }
}
