//! `GET /invariants`: the consistency check. It describes, for OpenAPI, what `choreography_ops::checks` serialises.
//!
//! A request gets the latest result if it is at most [`MAX_AGE`] old, counted from the first query to a service.

use std::time::{Duration, Instant};

use bytes::Bytes;
use choreography_http::code::Code;
use choreography_http::json::JsonOf;
use choreography_http::problem::{Failure, Problem};
use choreography_http::{failures, replies};
use choreography_ops::Operator;
use choreography_ops::checks::Watcher;
use poem_openapi::{Enum, Object, OpenApi};
use tokio::sync::Mutex;

use crate::Tag;

/// How long a result is cached at least.
const MIN_CACHE_TIME: Duration = Duration::from_secs(1);
/// How many times longer than the check took the result is cached.
const REFRESH_FACTOR: u32 = 10;
/// The maximum age of a result.
const MAX_AGE: Duration = Duration::from_secs(3);

/// The operation on the shop's invariants.
pub(crate) struct InvariantsApi {
    operator: Operator,
    found: Mutex<Found>,
}

struct Found {
    watcher: Watcher,
    /// The result as JSON, and until when it is cached.
    latest: Option<(Bytes, Instant)>,
}

replies! {
    /// Every invariant with its status.
    GetInvariants: Invariants;
}

failures! {
    /// The errors of `GET /invariants`.
    GetInvariantsFailures = &[Code::INVALID_PARAMETER];
}

#[OpenApi(tag = "Tag::Events")]
impl InvariantsApi {
    /// Check the invariants
    ///
    /// Checks the shop's invariants against the state of its services and streams: stock, money, orders, repetitions,
    /// the payment provider's ledger, outboxes, consumers, dead letters. The result is at most three seconds old.
    #[oai(path = "/invariants", method = "get", operation_id = "getInvariants")]
    async fn get(&self) -> Result<GetInvariants, Failure<GetInvariantsFailures>> {
        let mut found = self.found.lock().await;
        if let Some((json, until)) = &found.latest
            && Instant::now() < *until
        {
            return Ok(GetInvariants::Found(JsonOf::relayed(json.clone())));
        }
        let begun = Instant::now();
        let board = found.watcher.look(&self.operator).await;
        let json = serde_json::to_vec(&board).map(Bytes::from).map_err(|error| {
            tracing::error!(%error, "the invariants cannot be written as JSON");
            Problem::new(Code::INTERNAL)
        })?;
        let took = begun.elapsed();
        found.latest = Some((
            json.clone(),
            begun + MIN_CACHE_TIME.max(took * REFRESH_FACTOR).saturating_add(took).min(MAX_AGE),
        ));
        Ok(GetInvariants::Found(JsonOf::relayed(json)))
    }
}

impl InvariantsApi {
    /// Checks with the permissions of `operator`'s connection.
    pub(crate) fn new(operator: Operator) -> Self {
        Self { operator, found: Mutex::new(Found { watcher: choreo::invariants::watcher(), latest: None }) }
    }
}

/// The invariants of the shop.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Invariants {
    /// When the check was made, RFC 3339.
    checked_at: String,
    /// One per invariant.
    checks: Vec<InvariantCheck>,
}

/// Whether an invariant holds.
#[derive(Enum)]
#[oai(rename_all = "lowercase")]
enum InvariantStatus {
    /// It holds.
    Pass,
    /// It is violated.
    Fail,
    /// A service is unavailable, or messages are being processed.
    Unknown,
}

/// The result of checking one invariant.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct InvariantCheck {
    /// `stock-conserved`, `orders-reserved`, `money-conserved`, `provider-ledger`, `orders-end`, `handled-once`,
    /// `outboxes`, `consumers`, or `dead-letters`.
    name: String,
    /// The invariant, to display.
    title: String,
    /// Whether the invariant holds; unknown while a service is down or messages are being processed.
    status: InvariantStatus,
    /// How many items were examined.
    examined: u64,
    /// The finding, or why the status is unknown, to display.
    detail: String,
    /// How many violations there are.
    total: u64,
    /// The violations, at most 20.
    violations: Vec<InvariantViolation>,
    /// For `orders-end`: the number of unfinished orders.
    waiting_total: u64,
    /// For `orders-end`: the unfinished orders, oldest first, at most 20.
    waiting: Vec<InvariantPending>,
}

/// A violation of an invariant.
#[derive(Object)]
struct InvariantViolation {
    /// Unique among the violations of the check, and stable while the violation lasts.
    id: String,
    /// The id of the product, customer, or order, or the name of the service.
    key: String,
    /// What is wrong.
    explanation: String,
}

/// An unfinished order.
#[derive(Object)]
struct InvariantPending {
    /// The order's id.
    key: String,
    /// The service that it waits for.
    service: String,
    /// The step that it waits for.
    what: String,
    /// Since when it waits, RFC 3339.
    since: String,
}
