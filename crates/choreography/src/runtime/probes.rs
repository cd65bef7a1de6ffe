//! The endpoints `/liveness` and `/readiness`.

use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};

use crate::telemetry::health::Health;

/// Adds the probes to routes:
///
/// - `GET /liveness`: 200 while the process responds at all;
/// - `GET /readiness`: 200 if every part works, 503 otherwise, with each part and its problem.
#[must_use]
pub fn with_probes(routes: Route, health: Health) -> Route {
    let routes = routes.at("/liveness", get(liveness));
    routes.at("/readiness", get(readiness).data(health))
}

#[handler]
fn liveness() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "alive": true }))
}

#[handler]
fn readiness(Data(health): Data<&Health>) -> Response {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Json(readiness).with_status(status).into_response()
}
