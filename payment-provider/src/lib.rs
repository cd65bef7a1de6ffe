//! A stand-in for a payment provider: the third party of the demo and of tests.
//!
//! It belongs to somebody else, so it knows nothing of the shop: no message, no contract, no database of ours. It
//! speaks HTTP and keeps a [`ledger`] of its own, the witness of who was charged how often.
//!
//! | | |
//! |---|---|
//! | `POST /captures` `{orderId, token, amount, currency}` | 201 `{reference, status: "captured", orderId, amount, currency}` or 402 `{status: "declined"}` |
//! | `GET /captures/{key}` | 200 `{status}`, one of captured, declined, voided, refunded; if money was taken, with `reference, orderId, amount, currency`; 404 |
//! | `POST /captures/{key}/void` `{orderId, amount, currency}` | 200 `{status: "voided"}`, or `"refunded"` with `reference, orderId, amount, currency` if money was taken; 422 if that was other money |
//! | `POST /refunds` `{reference, orderId, amount, currency}` | 201 `{reference, status: "refunded", orderId, amount, currency}`; 404; 422 if that was other money |
//! | `GET /ledger/charges?after=&limit=` | `{charges: [{orderId, key, reference, amount, currency, refunded}], next}`: captures by order, page by page |
//! | `GET /ledger` | every entry, and how many there are of each kind |
//! | `GET /behaviour`, `PUT /behaviour` | how it misbehaves: [`behaviour`] |
//! | `GET /liveness`, `GET /readiness` | 200 |
//! | `GET /metrics` | what the HTTP server counts |
//!
//! `POST /captures` and `POST /refunds` need an `Idempotency-Key`: the same key has the same answer and does nothing
//! twice; with another body it is refused (422). A capture that is voided before it came is declined when it comes.
//!
//! A token that begins with `tok_decline`, `tok_slow`, `tok_fail`, or `tok_drop` is declined, answered after two
//! seconds, answered with 500, or captured without an answer, whatever the behaviour.

pub mod behaviour;
mod config;
pub mod ledger;
mod routes;

use anyhow::Context;
use messaging::Health;
use messaging::listener::Server;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use ledger::Ledger;

/// Serves until `shutdown` is cancelled.
///
/// # Errors
///
/// Where the ledger cannot be read or the address cannot be bound.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let ledger =
        Ledger::open(&config.ledger).with_context(|| format!("opening the ledger {}", config.ledger.display()))?;
    let health = Health::default();
    let server = Server::bind(config.http_address, &config.http, Some(health.clone())).await?;
    tracing::info!(ledger = %config.ledger.display(), "the ledger is open");
    server.serve(routes::routes(ledger, health), shutdown).await;
    Ok(())
}
