//! `GET /invariants`: whether everything is consistent. Describes, for OpenAPI, what `choreo::invariants` writes.
//!
//! A request gets the latest result if that is at most [`MAX_AGE`] old, counted from the first question to a service.

use std::time::{Duration, Instant};

use bytes::Bytes;
use choreo::Operator;
use choreo::invariants::Watcher;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use tokio::sync::Mutex;

use crate::Tag;
use crate::json::JsonOf;
use crate::problem::{Code, Codes, Failure, Problem};

/// How long what was found counts at least.
const MIN_CACHE_TIME: Duration = Duration::from_secs(1);
/// How many times longer than it took to find it.
const REFRESH_FACTOR: u32 = 10;
/// How old a result may be.
const MAX_AGE: Duration = Duration::from_secs(3);

/// The invariants of the shop.
pub(crate) struct InvariantsApi {
    operator: Operator,
    found: Mutex<Found>,
}

struct Found {
    watcher: Watcher,
    /// The board as JSON, and until when it counts.
    latest: Option<(Bytes, Instant)>,
}

/// Answers to `GET /invariants`.
#[derive(ApiResponse)]
pub(crate) enum GetInvariants {
    /// Every invariant with its status.
    #[oai(status = 200)]
    Found(JsonOf<Invariants>),
}

/// How `GET /invariants` may fail.
pub(crate) struct GetInvariantsFailures;

impl Codes for GetInvariantsFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter];
}

#[OpenApi(tag = "Tag::Events")]
impl InvariantsApi {
    /// Check the invariants
    ///
    /// The invariants of the shop, checked against what its services and streams say of themselves: stock, money, orders,
    /// repetitions, the payment provider's ledger, outboxes, consumers, dead letters. Never older than three seconds.
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
            Problem::new(Code::Internal)
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
    /// Looks with the rights of a connection.
    ///
    /// # Errors
    ///
    /// Where the declared topology cannot be read.
    pub(crate) fn new(operator: Operator) -> anyhow::Result<Self> {
        Ok(Self { operator, found: Mutex::new(Found { watcher: Watcher::new()?, latest: None }) })
    }
}

/// The invariants of the shop.
#[derive(Object)]
pub(crate) struct Invariants {
    /// When this was found, RFC 3339.
    at: String,
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
    /// A service does not answer, or messages are under way.
    Unknown,
}

/// The result of checking one invariant.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct InvariantCheck {
    /// `stock-conserved`, `orders-reserved`, `money-conserved`, `provider-ledger`, `orders-end`, `handled-once`, `outboxes`, `consumers`, or `dead-letters`.
    name: String,
    /// The invariant, for people.
    title: String,
    /// Whether the invariant holds; unknown while a service is down or messages are under way.
    status: InvariantStatus,
    /// How many things were examined.
    examined: u64,
    /// What was found, or why the status is unknown, for people.
    detail: String,
    /// How many violations there are.
    total: u64,
    /// The violations, 20 at most.
    violations: Vec<InvariantViolation>,
    /// Of `orders-end`: how many orders are not finished.
    waiting_total: u64,
    /// Of `orders-end`: what is not finished, longest first, 20 at most.
    waiting: Vec<InvariantPending>,
}

/// A violation of an invariant.
#[derive(Object)]
struct InvariantViolation {
    /// What no other violation of the check has; it stays the same for as long as the violation does.
    id: String,
    /// Which product, customer, order, or service.
    key: String,
    /// What is wrong with it.
    explanation: String,
}

/// Something that waits.
#[derive(Object)]
struct InvariantPending {
    /// Which order.
    key: String,
    /// With which service.
    service: String,
    /// For what.
    what: String,
    /// Since when, RFC 3339.
    since: String,
}
