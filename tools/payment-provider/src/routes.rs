//! The HTTP routes of the provider.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use choreography::listener::Connection;
use choreography::probes::with_probes;
use choreography::{Health, metrics};
use poem::http::{StatusCode, header};
use poem::web::{Data, Json, Path, Query};
use poem::{EndpointExt, FromRequest, IntoResponse, Request, RequestBody, Response, Route, get, handler, post};
use serde::{Deserialize, Serialize};

use crate::behaviour::{Act, Behaviour, Operation};
use crate::ledger::{Capture, CaptureState, Charge, Content, Entry, Ledger, Refusal, Status};

/// The longest `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// The state that all requests share.
struct Provider {
    ledger: Arc<Mutex<Ledger>>,
    behaviour: Mutex<Behaviour>,
    requests: AtomicU64,
}

pub(crate) fn routes(ledger: Ledger, health: Health) -> impl poem::Endpoint {
    let provider = Arc::new(Provider {
        ledger: Arc::new(Mutex::new(ledger)),
        behaviour: Mutex::default(),
        requests: AtomicU64::new(0),
    });
    let routes = Route::new()
        .at("/captures", post(capture))
        .at("/captures/:key", get(lookup))
        .at("/captures/:key/void", post(void))
        .at("/refunds", post(refund))
        .at("/ledger", get(show_ledger))
        .at("/ledger/charges", get(charges))
        .at("/behaviour", get(behaviour).put(behave))
        .at("/metrics", get(show_metrics));
    with_probes(routes, health).data(provider)
}

/// Returns the metrics of the HTTP server.
#[handler]
fn show_metrics() -> Response {
    metrics::exposition()
}

impl Provider {
    /// Executes a request as the behaviour plans it.
    ///
    /// The work runs in a task of its own, so that a client that disconnects does not cancel it.
    async fn perform(
        &self,
        client: &Connection,
        operation: Operation,
        token: Option<&str>,
        work: impl FnOnce(&mut Ledger, Act) -> Response + Send + 'static,
    ) -> Response {
        // Reading the ledger does not count, so that it does not change the sequence of random choices.
        let counted = u64::from(operation != Operation::Ledger);
        let n = self.requests.fetch_add(counted, Ordering::Relaxed);
        let plan = self.behaviour.lock().unwrap_or_else(PoisonError::into_inner).plan(operation, token, n);
        let ledger = self.ledger.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(plan.delay).await;
            match plan.act {
                Act::Refuse { status, retry_after } => refusal(status, retry_after),
                Act::Fail | Act::Drop => {
                    failure(StatusCode::INTERNAL_SERVER_ERROR, "the provider simulates a failure")
                }
                act => work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner), act),
            }
        });
        if matches!(plan.act, Act::PerformAndDrop | Act::Drop) {
            drop(task.await);
            client.end();
            // Never seen by the client.
            return Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish();
        }
        let lost = |_| failure(StatusCode::INTERNAL_SERVER_ERROR, "the task failed");
        task.await.unwrap_or_else(lost)
    }
}

/// The header `Idempotency-Key`, with or without the quotes of a structured field.
struct IdempotencyKey(String);

impl<'a> FromRequest<'a> for IdempotencyKey {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let key = request.header("Idempotency-Key").map(|key| key.trim().trim_matches('"')).unwrap_or_default();
        if (1..=MAX_KEY).contains(&key.len()) {
            Ok(Self(key.to_owned()))
        } else {
            Err(poem::Error::from_string("the header Idempotency-Key is missing", StatusCode::BAD_REQUEST))
        }
    }
}

#[handler]
async fn capture(
    Data(provider): Data<&Arc<Provider>>,
    Data(client): Data<&Connection>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<Capture>,
) -> Response {
    let token = request.token.clone();
    let work = move |ledger: &mut Ledger, act| {
        let taken = if act == Act::KeyTaken { ledger.take_key(&key, &request) } else { Ok(()) };
        respond(taken.and_then(|()| ledger.capture(&key, request, act == Act::Decline)), true)
    };
    provider.perform(client, Operation::Capture, Some(&token), work).await
}

#[handler]
async fn lookup(
    Data(provider): Data<&Arc<Provider>>,
    Data(client): Data<&Connection>,
    Path(key): Path<String>,
) -> Response {
    let work = move |ledger: &mut Ledger, _| match ledger.lookup(&key) {
        Some(reported) => Json(reported).into_response(),
        None => failure(StatusCode::NOT_FOUND, "the key is unknown"),
    };
    provider.perform(client, Operation::Lookup, None, work).await
}

#[handler]
async fn void(
    Data(provider): Data<&Arc<Provider>>,
    Data(client): Data<&Connection>,
    Path(key): Path<String>,
    expected: Option<Json<Content>>,
) -> Response {
    let work = move |ledger: &mut Ledger, _| {
        respond(ledger.void(&key, expected.as_ref().map(|Json(content)| content)), false)
    };
    provider.perform(client, Operation::Void, None, work).await
}

#[derive(Deserialize)]
struct RefundRequest {
    reference: String,
    #[serde(flatten)]
    expected: Option<Content>,
}

#[handler]
async fn refund(
    Data(provider): Data<&Arc<Provider>>,
    Data(client): Data<&Connection>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<RefundRequest>,
) -> Response {
    let work = move |ledger: &mut Ledger, _| {
        respond(ledger.refund(&key, &request.reference, request.expected.as_ref()), true)
    };
    provider.perform(client, Operation::Refund, None, work).await
}

#[derive(Serialize)]
struct Contents {
    counts: BTreeMap<&'static str, usize>,
    entries: Vec<Entry>,
}

#[handler]
fn show_ledger(Data(provider): Data<&Arc<Provider>>) -> Json<Contents> {
    let entries = provider.ledger.lock().unwrap_or_else(PoisonError::into_inner).entries().to_vec();
    let mut counts = BTreeMap::from([("captured", 0), ("declined", 0), ("voided", 0), ("refunded", 0)]);
    for entry in &entries {
        let kind = match entry {
            Entry::Captured { .. } => "captured",
            Entry::Declined { .. } => "declined",
            Entry::Voided { .. } => "voided",
            Entry::Refunded { .. } => "refunded",
        };
        *counts.entry(kind).or_default() += 1;
    }
    Json(Contents { counts, entries })
}

/// The largest number of charges in a page, unless one order has more.
const MAX_PAGE: usize = 1000;

#[derive(Deserialize)]
struct ChargesQuery {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Charges {
    charges: Vec<Charge>,
    next: Option<String>,
}

#[handler]
async fn charges(
    Data(provider): Data<&Arc<Provider>>,
    Data(client): Data<&Connection>,
    Query(ChargesQuery { after, limit }): Query<ChargesQuery>,
) -> Response {
    let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let work = move |ledger: &mut Ledger, _| {
        let (charges, next) = ledger.charges(&after, limit);
        Json(Charges { charges, next }).into_response()
    };
    provider.perform(client, Operation::Ledger, None, work).await
}

#[handler]
fn behaviour(Data(provider): Data<&Arc<Provider>>) -> Json<Behaviour> {
    Json(provider.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

#[handler]
fn behave(Data(provider): Data<&Arc<Provider>>, Json(request): Json<Behaviour>) -> Json<Behaviour> {
    tracing::info!(behaviour = ?request, "the behaviour has changed");
    provider.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&request);
    Json(request)
}

/// Maps the result of the ledger to a response; `created` is true for requests that create a resource.
fn respond(reported: Result<CaptureState, Refusal>, created: bool) -> Response {
    match reported {
        Ok(reported) => {
            let status = match reported.status {
                _ if !created => StatusCode::OK,
                Status::Captured | Status::Refunded => StatusCode::CREATED,
                Status::Declined | Status::Voided => StatusCode::PAYMENT_REQUIRED,
            };
            Json(reported).with_status(status).into_response()
        }
        Err(Refusal::KeyAlreadyUsed) => {
            failure(StatusCode::UNPROCESSABLE_ENTITY, "the key belongs to another request")
        }
        Err(Refusal::OtherContent) => {
            failure(StatusCode::UNPROCESSABLE_ENTITY, "the capture has another order, amount, or currency")
        }
        Err(Refusal::UnknownReference) => failure(StatusCode::NOT_FOUND, "the reference is unknown"),
        Err(Refusal::Unwritable(error)) => {
            tracing::error!(%error, "cannot write the ledger");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the ledger")
        }
    }
}

/// Responds with the status of the behaviour.
fn refusal(status: u16, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = failure(status, "the provider simulates a refusal");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn failure(status: StatusCode, detail: &str) -> Response {
    Json(serde_json::json!({ "detail": detail })).with_status(status).into_response()
}
