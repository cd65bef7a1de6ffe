//! The one mapping of errors to HTTP: RFC 9457 problems with stable codes.
//!
//! A client branches on `code` (or `type`, which is `/problems/<code>`); `title` and `detail` are for people. Internal
//! causes are logged where they occur and never part of a response.

use std::marker::PhantomData;

use contracts::account::looks_like_a_card_number;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The maximum number of errors in one problem.
const MAX_ERRORS: usize = 100;

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $text:literal, $status:ident, $title:literal, $meaning:literal; )+) => {
        /// The code of a problem. The texts are part of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $( #[doc = $meaning] $variant, )+
        }

        impl Code {
            /// All codes.
            pub(crate) const ALL: &[Self] = &[$( Self::$variant ),+];

            /// Returns the code as in responses.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }

            /// Returns the HTTP status of the code.
            pub(crate) fn status(self) -> StatusCode {
                match self { $( Self::$variant => StatusCode::$status, )+ }
            }

            /// Returns the title, the same for every problem with this code.
            pub(crate) fn title(self) -> &'static str {
                match self { $( Self::$variant => $title, )+ }
            }

            /// Returns the meaning of the code and the client's next step.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning, )+ }
            }
        }
    };
}

codes! {
    InvalidParameter = "invalid-parameter", BAD_REQUEST, "Invalid parameter",
        "An id in the path, a query parameter, or a header is invalid. `errors` lists each of them.";
    MalformedJson = "malformed-json", BAD_REQUEST, "Malformed JSON",
        "The body is not valid JSON, or has a duplicate key. `detail` has the line and column.";
    UnreadableRequest = "unreadable-request", BAD_REQUEST, "Unreadable request",
        "The request is not valid HTTP, or incomplete.";
    RouteNotFound = "route-not-found", NOT_FOUND, "No such path",
        "Nothing is served at this path. `/docs` lists the API.";
    OrderNotFound = "order-not-found", NOT_FOUND, "No such order",
        "The order does not exist, or its command has not been processed yet.";
    ProductNotFound = "product-not-found", NOT_FOUND, "No such product",
        "The product does not exist, or its first restock has not been processed yet.";
    AccountNotFound = "account-not-found", NOT_FOUND, "No such account",
        "The customer has no account, or the command that creates it has not been processed yet.";
    PaymentNotFound = "payment-not-found", NOT_FOUND, "No such payment",
        "The order does not exist, or the payment service has not processed its event yet.";
    MessageNotFound = "message-not-found", NOT_FOUND, "No such message",
        "The stream has no message of this order with this sequence, or no longer has it.";
    DeadLetterNotFound = "dead-letter-not-found", NOT_FOUND, "No such dead letter",
        "No dead letter has this sequence, or it no longer exists.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path exists, but not with this method. `Allow` lists its methods.";
    OrderAlreadyConfirmed = "order-already-confirmed", CONFLICT, "Order already confirmed",
        "The order is confirmed, which is final; it can no longer be cancelled.";
    AccountAlreadyExists = "account-already-exists", CONFLICT, "Account already exists",
        "The customer has an account with other content; nothing changed. Change it with `PUT`.";
    AccountHasChanged = "account-has-changed", PRECONDITION_FAILED, "Account has changed",
        "The account does not have the version in `If-Match`; nothing changed. `version` and the header `ETag` are \
         its current version. Read the account, and make the change again.";
    MisdirectedRequest = "misdirected-request", MISDIRECTED_REQUEST, "Not for this host",
        "The `Host` of the request is not a name of this gateway: use `127.0.0.1` or `localhost`, or configure \
         `ALLOWED_HOSTS`.";
    ForeignOrigin = "foreign-origin", FORBIDDEN, "Foreign origin",
        "Only pages of the gateway itself, and of origins in `ALLOWED_ORIGINS`, may send requests. The request had no \
         effect.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body is larger than 64 KiB.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be `application/json` in UTF-8, without a content encoding.";
    Validation = "validation", UNPROCESSABLE_ENTITY, "Invalid content",
        "The body is JSON, but some of its fields are invalid. `errors` lists each of them.";
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "The `Idempotency-Key` was used for a request with other content. Use a new key for a new request.";
    OrderIdAlreadyUsed = "order-id-already-used", UNPROCESSABLE_ENTITY, "Order id already used",
        "The id belongs to an order with other content; nothing changed.";
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "Precondition required",
        "A change must have `If-Match` with the `ETag` of the account that the client read.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "A component of the shop is unavailable. Send the same request again after `Retry-After` seconds: a command \
         is not processed twice if its request has an order id or has an `Idempotency-Key`.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "The shop has no capacity for more commands. Nothing of this request was stored; send it again after \
         `Retry-After` seconds.";
    IdempotencyKeysFull = "idempotency-keys-full", SERVICE_UNAVAILABLE, "Too many idempotency keys",
        "The maximum number of idempotency keys is stored. Nothing of this request was stored. Send it again \
         after `Retry-After` seconds, when the oldest key expires, or without `Idempotency-Key`.";
    TooManyStreams = "too-many-streams", SERVICE_UNAVAILABLE, "Too many event streams",
        "The maximum number of clients follow the events. Try again after `Retry-After` seconds.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "The gateway failed. Its log has the cause.";
}

/// The part of a request that an error refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A parameter of the path or the query.
    Parameter(String),
    /// A header.
    Header(String),
}

/// An error in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    place: Place,
    detail: String,
}

impl FieldError {
    /// Creates an error for a field of the body.
    pub(crate) fn pointer(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Pointer(masked(pointer)), detail)
    }

    /// Creates an error for a parameter of the path or the query.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Place::Parameter(masked(name)), detail)
    }

    /// Creates an error for a header.
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

/// Masks text that looks like a card number, also in the name of a field: clients may log responses.
fn masked(text: impl Into<String>) -> String {
    let text = text.into();
    if looks_like_a_card_number(&text) {
        text.chars().map(|c| if c.is_numeric() { '*' } else { c }).collect()
    } else {
        text
    }
}

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    version: Option<i64>,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, String)>,
}

impl Problem {
    /// Creates a problem whose detail is the meaning of its code.
    pub(crate) fn new(code: Code) -> Self {
        Self::with_detail(code, code.meaning())
    }

    /// Creates a problem with a specific detail.
    pub(crate) fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        let headers = match code.status() {
            StatusCode::SERVICE_UNAVAILABLE => vec![(header::RETRY_AFTER, "1".to_owned())],
            _ => vec![],
        };
        Self { code, detail: detail.into(), version: None, errors: vec![], headers }
    }

    /// Returns the code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Sets when to send the request again, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.retain(|(name, _)| name != header::RETRY_AFTER);
        self.headers.push((header::RETRY_AFTER, seconds.to_string()));
        self
    }

    /// Creates a problem from all errors in a request; the detail describes the first.
    pub(crate) fn with_errors(code: Code, mut errors: Vec<FieldError>) -> Self {
        let more = match errors.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = errors.first().map(FieldError::describe).unwrap_or_default();
        errors.truncate(MAX_ERRORS);
        Self { errors, ..Self::with_detail(code, first + &more) }
    }

    /// Creates the problem for a method that the path does not have.
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let problem = Self::with_detail(Code::MethodNotAllowed, format!("This path has {allowed}."));
        Self { headers: vec![(header::ALLOW, allowed.to_owned())], ..problem }
    }

    /// Creates the problem for a change to an outdated version of an account.
    pub(crate) fn account_has_changed(version: i64) -> Self {
        let problem = Self::with_detail(Code::AccountHasChanged, format!("The account has version {version} now."));
        Self { version: Some(version), headers: vec![(header::ETAG, format!("\"{version}\""))], ..problem }
    }

    /// Returns the problem as JSON, as in responses.
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

/// An error (RFC 9457).
#[derive(Debug, Object)]
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
    /// With `account-has-changed`: the account's current version.
    #[oai(skip_serializing_if_is_none)]
    version: Option<i64>,
    /// The errors in the request, if they can be located.
    #[oai(skip_serializing_if_is_empty, default)]
    errors: Vec<ErrorBody>,
}

/// An error in a request: exactly one of `pointer`, `parameter` and `header` locates it.
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
    /// The constraint that is violated.
    detail: String,
}

/// The problem codes of an operation, for OpenAPI.
pub(crate) trait Codes {
    /// The codes, ordered by status.
    const CODES: &'static [Code];
}

/// A [`Problem`] of an operation that declares its codes.
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
        ProblemBody::register(registry);
    }
}
