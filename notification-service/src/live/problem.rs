//! Problem responses (RFC 9457).

use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use serde_json::json;

/// An error of a request or of the service.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<serde_json::Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: vec![] }
    }

    /// The problem of an invalid query parameter.
    pub(super) fn parameter(name: &str, detail: &str) -> Self {
        let errors = vec![json!({ "parameter": name, "detail": detail })];
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, format!("{name} {detail}")) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = self.errors.into();
        }
        let mut response = Response::builder().status(self.status).content_type("application/problem+json");
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response = response.header(header::RETRY_AFTER, "5");
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response = response.header(header::UPGRADE, "websocket").header(header::CONNECTION, "upgrade");
        }
        response.body(body.to_string())
    }
}
