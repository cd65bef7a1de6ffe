//! The codes of problems.

use poem::http::StatusCode;

/// The code of a problem. The texts are part of an API's contract.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Code {
    /// The code as in responses, such as `validation`; it identifies the code.
    pub text: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The title, the same for every problem with this code.
    pub title: &'static str,
    /// The meaning of the code and the client's next step.
    pub meaning: &'static str,
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Code {}

impl Code {
    /// Declares a code.
    #[must_use]
    pub const fn new(text: &'static str, status: StatusCode, title: &'static str, meaning: &'static str) -> Self {
        Self { text, status, title, meaning }
    }
}

macro_rules! codes {
    ($( $name:ident = $text:literal, $status:ident, $title:literal, $meaning:literal; )+) => {
        impl Code {
            $(
                #[doc = $meaning]
                pub const $name: Self = Self::new($text, StatusCode::$status, $title, $meaning);
            )+

            /// The codes of the library.
            pub(crate) const ALL: &[Self] = &[$( Self::$name ),+];
        }
    };
}

codes! {
    INVALID_PARAMETER = "invalid-parameter", BAD_REQUEST, "Invalid parameter",
        "An id in the path, a query parameter, or a header is invalid. `errors` lists each of them.";
    MALFORMED_JSON = "malformed-json", BAD_REQUEST, "Malformed JSON",
        "The body is not valid JSON, or has a duplicate key. `detail` has the line and column.";
    UNREADABLE_REQUEST = "unreadable-request", BAD_REQUEST, "Unreadable request",
        "The request is not valid HTTP, or incomplete.";
    ROUTE_NOT_FOUND = "route-not-found", NOT_FOUND, "No such path",
        "Nothing is served at this path. `/docs` lists the API.";
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path exists, but not with this method. `Allow` lists its methods.";
    MISDIRECTED_REQUEST = "misdirected-request", MISDIRECTED_REQUEST, "Not for this host",
        "The `Host` of the request is not a name of this gateway: use `127.0.0.1` or `localhost`, or configure \
         `ALLOWED_HOSTS`.";
    FOREIGN_ORIGIN = "foreign-origin", FORBIDDEN, "Foreign origin",
        "Only pages of the gateway itself, and of origins in `ALLOWED_ORIGINS`, may send requests. The request had no \
         effect.";
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED, "Not signed in",
        "The access token is missing or not valid. `detail` has the reason: sign in, and send the request again.";
    FORBIDDEN = "forbidden", FORBIDDEN, "Permission missing",
        "The user lacks a permission, which `detail` names. The request had no effect.";
    TOO_MANY_REQUESTS = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests",
        "The user or the address has sent too many requests. Send it again after `Retry-After` seconds.";
    BODY_TOO_LARGE = "body-too-large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body is larger than 64 KiB.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "The body must be `application/json` in UTF-8, without a content encoding.";
    VALIDATION = "validation", UNPROCESSABLE_ENTITY, "Invalid content",
        "The body is JSON, but some of its fields are invalid. `errors` lists each of them.";
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused",
        "The `Idempotency-Key` was used for a request with other content. Use a new key for a new request.";
    UNAVAILABLE = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "A component is unavailable. Send the same request again after `Retry-After` seconds: a command is not \
         processed twice if its request has an `Idempotency-Key`.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "Overloaded",
        "There is no capacity for more commands. Nothing of this request was stored; send it again after `Retry-After` \
         seconds.";
    IDEMPOTENCY_KEYS_FULL = "idempotency-keys-full", SERVICE_UNAVAILABLE, "Too many idempotency keys",
        "The maximum number of idempotency keys is stored. Nothing of this request was stored. Send it again \
         after `Retry-After` seconds, when the oldest key expires, or without `Idempotency-Key`.";
    TOO_MANY_STREAMS = "too-many-streams", SERVICE_UNAVAILABLE, "Too many event streams",
        "The maximum number of clients follow the events. Try again after `Retry-After` seconds.";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "The gateway failed. Its log has the cause.";
}

impl Code {
    /// The codes of every operation with parameters that depends on other components.
    pub const OF_QUERY: &[Self] = &[Self::INVALID_PARAMETER, Self::UNAVAILABLE];
    /// The further codes of an operation with a body.
    pub const OF_BODY: &[Self] =
        &[Self::MALFORMED_JSON, Self::BODY_TOO_LARGE, Self::UNSUPPORTED_MEDIA_TYPE, Self::VALIDATION];
    /// The further codes of an operation with an idempotency key.
    pub const OF_KEY: &[Self] = &[Self::IDEMPOTENCY_KEY_REUSED];
}
