//! The control API over HTTP:
//!
//! - `GET /components`: `[{"component", "process", "state", "ready", "detail", "actions", "faults"}, …]`;
//! - `POST /components/{component}/{kill|stop|start|pause|resume}`;
//! - `POST /faults/redeliver` `{"messages": 100}`;
//! - `POST /faults/delay-acks` `{"component": "inventory-service", "seconds": 15}`;
//! - `POST /faults/disconnect` `{"component": "order-service"}`.
//!
//! Success is 200 with `{"done": "…"}`. A request that conflicts with the present state gets 409, an invalid one 400 or
//! 404, each with `{"error": "…"}`. An unauthorised request gets an empty 403.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use choreography::listener::{HttpOptions, Server};
use poem::http::StatusCode;
use poem::web::{Data, Json, Path as UrlPath};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler, post};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::guard::{self, Guard, Verdict};
use super::{Action, Address, ControlRequest, Listed, Request, address_file};
use crate::component::Component;
use crate::shop::{ComponentStatus, READY_WITHIN, State};

/// The largest request body, in bytes.
const MAX_BODY: usize = 4096;
/// How often the readiness of a starting component is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The listener of the control API on a port of 127.0.0.1, and the token that it demands.
pub(crate) struct Listener {
    server: Server,
    token: String,
}

impl Listener {
    /// Binds the port; requests are accepted from [`serve`](Self::serve) on.
    pub(crate) async fn bind(port: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // The guard of this listener is stricter.
        let server = Server::bind(address, &HttpOptions::default(), None).await?.without_guard();
        Ok(Self { server, token: uuid::Uuid::new_v4().to_string() })
    }

    fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// Returns the URL of the control API.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Returns the token that every request must carry.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Serves the dashboard of the gateway on port `gateway`, and clients that can read the address file in the data
    /// folder, until the program ends. The requests go to `requests`.
    pub(crate) fn serve(self, data: &Path, gateway: u16, requests: mpsc::Sender<Request>) -> anyhow::Result<()> {
        let guard = Guard::new(&self.token, self.port(), gateway);
        let address = Address { process: std::process::id(), port: self.port(), token: self.token };
        write_private(&address_file(data), &serde_json::to_vec_pretty(&address)?)?;
        let routes = Route::new()
            .at("/components", get(components))
            .at("/components/:component/:action", post(act))
            .at("/faults/:fault", post(fault))
            .data(requests);
        let guard = std::sync::Arc::new(guard);
        let guarded = routes.around(move |endpoint, request| {
            let guard = guard.clone();
            async move {
                Ok(match guard.check(&request) {
                    Verdict::Forbidden => StatusCode::FORBIDDEN.into_response(),
                    Verdict::Preflight(origin) => guard::preflight(&origin),
                    Verdict::Allowed(origin) => {
                        let mut response = endpoint.get_response(request).await;
                        guard::add_headers(&mut response, origin.as_ref());
                        response
                    }
                })
            }
        });
        // It serves until the program ends.
        tokio::spawn(self.server.serve(guarded, CancellationToken::new()));
        Ok(())
    }
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", path.display()))
}

#[handler]
async fn components(Data(requests): Data<&mpsc::Sender<Request>>) -> Response {
    match status(requests).await {
        Some(all) => {
            let listed: Vec<Listed> = all.into_iter().map(Listed::of).collect();
            Json(listed).into_response()
        }
        None => shutting_down(),
    }
}

#[handler]
async fn act(
    UrlPath((component, action)): UrlPath<(String, String)>,
    Data(requests): Data<&mpsc::Sender<Request>>,
) -> Response {
    let Ok(action) = serde_json::from_value(json!(action)) else {
        return error(StatusCode::NOT_FOUND, &format!("{action:?} is not an action"));
    };
    let component: Component = match component.parse() {
        Ok(component) => component,
        Err(unknown) => return error(StatusCode::NOT_FOUND, &unknown),
    };
    match (execute(requests, ControlRequest::Act(action, component)).await, action) {
        (Some(Ok(done)), Action::Start) => response(until_ready(requests, component).await.map(|()| done)),
        (Some(outcome), _) => response(outcome),
        (None, _) => shutting_down(),
    }
}

#[handler]
async fn fault(
    UrlPath(fault): UrlPath<String>,
    body: Body,
    Data(requests): Data<&mpsc::Sender<Request>>,
) -> Response {
    let read = body.into_bytes_limit(MAX_BODY).await;
    let Ok(body) = read else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {MAX_BODY} bytes"));
    };
    let control_request = match fault.as_str() {
        "redeliver" => parse(&body).map(ControlRequest::Redeliver),
        "delay-acks" => parse(&body).map(ControlRequest::DelayAcks),
        "disconnect" => parse(&body).map(ControlRequest::Disconnect),
        _ => return error(StatusCode::NOT_FOUND, &format!("{fault:?} is not a fault")),
    };
    let control_request = match control_request
        .and_then(|control_request| control_request.out_of_bounds().map_or(Ok(control_request), Err))
    {
        Ok(control_request) => control_request,
        Err(reason) => return error(StatusCode::BAD_REQUEST, &reason),
    };
    execute(requests, control_request).await.map_or_else(shutting_down, response)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Waits until a started component is ready. The supervisor executes other requests meanwhile, such as the start of a
/// component that this one depends on.
async fn until_ready(requests: &mpsc::Sender<Request>, component: Component) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let all = status(requests).await.ok_or("the demo is shutting down")?;
        match all.into_iter().find(|status| status.component == component.name()) {
            Some(ComponentStatus { ready: true, .. }) => return Ok(()),
            Some(ComponentStatus { state: State::Stopped, .. }) | None => {
                return Err(format!("{component} ended before it was ready; see its log"));
            }
            Some(status) if start.elapsed() > READY_WITHIN => {
                let waited = READY_WITHIN.as_secs();
                return Err(format!("{component} is not ready after {waited} s: {}", status.detail));
            }
            Some(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Executes a control request and returns its result; `None` if the demo is shutting down.
async fn execute(
    requests: &mpsc::Sender<Request>,
    control_request: ControlRequest,
) -> Option<Result<String, String>> {
    let (reply, result) = oneshot::channel();
    requests.send(Request::Do(control_request, reply)).await.ok()?;
    result.await.ok()
}

/// Returns the status of every component, in the order of its components.
async fn status(requests: &mpsc::Sender<Request>) -> Option<Vec<ComponentStatus>> {
    let (reply, result) = oneshot::channel();
    requests.send(Request::Status(reply)).await.ok()?;
    result.await.ok()
}

fn response(outcome: Result<String, String>) -> Response {
    match outcome {
        Ok(done) => Json(json!({"done": done})).into_response(),
        Err(reason) => error(StatusCode::CONFLICT, &reason),
    }
}

fn error(status: StatusCode, reason: &str) -> Response {
    Json(json!({"error": reason})).with_status(status).into_response()
}

fn shutting_down() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "the demo is shutting down")
}
