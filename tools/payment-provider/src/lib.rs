//! A simulated payment provider: the third party of the demo and of tests.
//!
//! It is independent of the shop: it uses no message, contract, or database of the shop. It serves HTTP and keeps its
//! own [`ledger`], which shows who was charged how often.
//!
//! | | |
//! |---|---|
//! | `POST /captures` `{orderId, token, amount, currency}` | 201 `{reference, status: "captured", orderId, amount, currency}` or 402 `{status: "declined"}` |
//! | `GET /captures/{key}` | 200 `{status}`, one of captured, declined, voided, refunded; with `reference, orderId, amount, currency` if there was a capture; 404 |
//! | `POST /captures/{key}/void` `{orderId, amount, currency}` | 200 `{status: "voided"}`, or `"refunded"` with `reference, orderId, amount, currency` if there was a capture; 422 if its content differs |
//! | `POST /refunds` `{reference, orderId, amount, currency}` | 201 `{reference, status: "refunded", orderId, amount, currency}`; 404; 422 if the content differs |
//! | `GET /ledger/charges?after=&limit=` | `{charges: [{orderId, key, reference, amount, currency, refunded}], next}`: captures by order, page by page |
//! | `GET /ledger` | all entries, and their number per kind |
//! | `GET /behaviour`, `PUT /behaviour` | the [`behaviour`] |
//! | `GET /liveness`, `GET /readiness` | 200 |
//! | `GET /metrics` | the metrics of the HTTP server |
//!
//! `POST /captures` and `POST /refunds` need an `Idempotency-Key`: the same key has the same response and takes effect
//! once; with another body it is refused (422). A capture whose key was voided before is declined.
//!
//! A token that begins with `tok_decline`, `tok_slow`, `tok_fail`, or `tok_drop` is declined, delayed by two seconds,
//! refused with 500, or captured without a response, whatever the behaviour.

pub mod behaviour;
mod config;
pub mod ledger;
mod routes;

use anyhow::Context;
use choreography::listener::Server;
use choreography::{Health, Running};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use ledger::Ledger;

/// Serves until `shutdown` is cancelled.
///
/// # Errors
///
/// If the ledger cannot be read or the address cannot be bound.
pub fn run(config: Config, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let ledger = Ledger::open(&config.ledger)
            .with_context(|| format!("opening the ledger {}", config.ledger.display()))?;
        let health = Health::default();
        let server = Server::bind(config.http_address, &config.http, Some(health.clone())).await?;
        tracing::info!(ledger = %config.ledger.display(), "opened the ledger");
        server.serve(routes::routes(ledger, health), shutdown).await;
        Ok(())
    })
}
