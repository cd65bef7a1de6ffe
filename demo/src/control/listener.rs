//! The control requests over HTTP:
//!
//! - `GET /components`: `[{"component", "process", "state", "ready", "detail", "actions", "faults"}, …]`;
//! - `POST /components/{component}/{kill|stop|start|pause|resume}`;
//! - `POST /faults/redeliver` `{"messages": 100}`;
//! - `POST /faults/delay-acks` `{"component": "inventory-service", "seconds": 15}`;
//! - `POST /faults/disconnect` `{"component": "order-service"}`.
//!
//! What was done is 200 and `{"done": "…"}`; what cannot be done now 409, and what cannot be meant 400 or 404, with
//! `{"error": "…"}`. Whoever may not ask gets 403 and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use messaging::listener::{HttpOptions, Server};
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

/// The largest request, in bytes.
const LARGEST: usize = 4096;
/// How often a component that starts is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A port of this machine, and the token for whoever may use it.
pub(crate) struct Listener {
    server: Server,
    token: String,
}

impl Listener {
    /// Listens; nothing is answered before [`serve`](Self::serve).
    pub(crate) async fn bind(port: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // It has a guard of its own, which asks for more.
        let server = Server::bind(address, &HttpOptions::default(), None).await?.without_guard();
        Ok(Self { server, token: uuid::Uuid::new_v4().to_string() })
    }

    fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Returns the token that every request must carry.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Answers the page of the gateway on port `gateway`, and whoever can read the address in the data folder, until
    /// the program ends. Wishes arrive at `requests`.
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
                Ok(match guard.judge(&request) {
                    Verdict::Forbidden => StatusCode::FORBIDDEN.into_response(),
                    Verdict::Preflight(origin) => guard::preflight(&origin),
                    Verdict::Allowed(origin) => {
                        let mut response = endpoint.get_response(request).await;
                        guard::show_to(&mut response, origin.as_ref());
                        response
                    }
                })
            }
        });
        // Until the program ends.
        tokio::spawn(self.server.serve(guarded, CancellationToken::new()));
        Ok(())
    }
}

/// Writes a file that only its owner can read.
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
            let listed: Vec<Listed> = Component::ALL.into_iter().zip(all).map(Listed::of).collect();
            Json(listed).into_response()
        }
        None => gone(),
    }
}

#[handler]
async fn act(
    UrlPath((component, action)): UrlPath<(String, String)>,
    Data(requests): Data<&mpsc::Sender<Request>>,
) -> Response {
    let Ok(action) = serde_json::from_value(json!(action)) else {
        return error(StatusCode::NOT_FOUND, &format!("there is no action {action:?}"));
    };
    let component: Component = match component.parse() {
        Ok(component) => component,
        Err(unknown) => return error(StatusCode::NOT_FOUND, &unknown),
    };
    match (ask(requests, ControlRequest::Act(action, component)).await, action) {
        (Some(Ok(done)), Action::Start) => answer(until_ready(requests, component).await.map(|()| done)),
        (Some(outcome), _) => answer(outcome),
        (None, _) => gone(),
    }
}

#[handler]
async fn fault(
    UrlPath(fault): UrlPath<String>,
    body: Body,
    Data(requests): Data<&mpsc::Sender<Request>>,
) -> Response {
    let read = body.into_bytes_limit(LARGEST).await;
    let Ok(body) = read else { return error(StatusCode::PAYLOAD_TOO_LARGE, "that is too much to read") };
    let control_request = match fault.as_str() {
        "redeliver" => parse(&body).map(ControlRequest::Redeliver),
        "delay-acks" => parse(&body).map(ControlRequest::DelayAcks),
        "disconnect" => parse(&body).map(ControlRequest::Disconnect),
        _ => return error(StatusCode::NOT_FOUND, &format!("there is no fault {fault:?}")),
    };
    let control_request = match control_request
        .and_then(|control_request| control_request.out_of_bounds().map_or(Ok(control_request), Err))
    {
        Ok(control_request) => control_request,
        Err(wrong) => return error(StatusCode::BAD_REQUEST, &wrong),
    };
    ask(requests, control_request).await.map_or_else(gone, answer)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Waits until a component that was started does its work. Not where control requests are fulfilled: others are heard meanwhile, such
/// as one for what this component waits for.
async fn until_ready(requests: &mpsc::Sender<Request>, component: Component) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let all = status(requests).await.ok_or("the demo ends")?;
        let stands = all.into_iter().find(|status| status.component == component.name());
        match stands {
            Some(ComponentStatus { ready: true, .. }) => return Ok(()),
            Some(ComponentStatus { state: State::Stopped, .. }) | None => {
                return Err(format!("{component} ended before it was ready; its log says why"));
            }
            Some(status) if start.elapsed() > READY_WITHIN => {
                let waited = READY_WITHIN.as_secs();
                return Err(format!("{component} is not ready after {waited} s: {}", status.detail));
            }
            Some(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Returns what came of a control request; none where nobody fulfils control requests any more.
async fn ask(requests: &mpsc::Sender<Request>, control_request: ControlRequest) -> Option<Result<String, String>> {
    let (answer, answered) = oneshot::channel();
    requests.send(Request::Do(control_request, answer)).await.ok()?;
    answered.await.ok()
}

/// Returns where every component stands, in the order of [`Component::ALL`].
async fn status(requests: &mpsc::Sender<Request>) -> Option<Vec<ComponentStatus>> {
    let (answer, answered) = oneshot::channel();
    requests.send(Request::Status(answer)).await.ok()?;
    answered.await.ok()
}

fn answer(outcome: Result<String, String>) -> Response {
    match outcome {
        Ok(done) => Json(json!({"done": done})).into_response(),
        Err(why) => error(StatusCode::CONFLICT, &why),
    }
}

fn error(status: StatusCode, why: &str) -> Response {
    Json(json!({"error": why})).with_status(status).into_response()
}

fn gone() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "the demo ends")
}
