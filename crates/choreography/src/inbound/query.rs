//! Queries: request and reply over the NATS Services API. Callers need no address, and `nats service ls` lists the
//! services.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, ServiceExt, error::Error as ServiceError};
use async_nats::{Client, Request};
use bytes::Bytes;
use futures::StreamExt;
use sea_orm::DatabaseConnection;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::state::database::{self, Watch};
use crate::state::fault::{self, Fault};
use crate::telemetry::health::Health;

/// The [`Health`] part for the database of queries.
const QUERIES: &str = "queries";
/// The interval between checks of a database that failed a query.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of concurrent requests per endpoint; further requests wait.
const CONCURRENT: usize = 32;

/// The maximum number of bytes of rows per page: NATS accepts no message over 1 MB.
const PAGE_BYTES: usize = 512 * 1024;

/// Truncates rows to a page: `limit` rows, or as many as fit into a message, but at least one. The caller reads one row
/// more than `limit`. `size` returns the approximate bytes of a row in the reply. Returns whether more rows follow.
pub fn cut_page<R>(rows: &mut Vec<R>, limit: u64, size: impl Fn(&R) -> usize) -> bool {
    let mut bytes = 0;
    let fitting = rows.iter().take_while(|row| {
        bytes += size(row);
        bytes <= PAGE_BYTES
    });
    let shown = fitting.count().max(1).min(usize::try_from(limit).unwrap_or(usize::MAX));
    let more = rows.len() > shown;
    rows.truncate(shown);
    more
}

/// A request to an endpoint.
#[derive(Debug, Clone)]
pub struct Query {
    /// The last token of the subject: the business id.
    pub key: String,
    /// The body; empty if the endpoint needs none.
    pub body: Bytes,
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The requested object does not exist; the reply has code 404.
    #[error("{0}")]
    NotFound(String),
    /// The request is invalid; the reply has code 400.
    #[error("{0}")]
    Invalid(String),
    /// The result is temporarily unavailable; logged. The reply has code 503 and no details, except that the database
    /// is the cause.
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

impl From<sea_orm::DbErr> for QueryError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No process receives requests on the subject; none received this one.
    #[error("no service receives the request")]
    NoResponders,
    /// There is no reply in time. A service may have received the request.
    #[error("there is no reply within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The requested object does not exist (code 404).
    #[error("{0}")]
    NotFound(String),
    /// The request is invalid (code 400).
    #[error("{0}")]
    Invalid(String),
    /// The service cannot reply (any other code).
    #[error("error {code}: {why}")]
    Failed {
        /// The code, such as `503`.
        code: String,
        /// The text of the error.
        why: String,
    },
    /// The request could not be sent, or its reply not be received.
    #[error("{0}")]
    Broken(String),
}

/// Sends a request to the service that has an [`Endpoint`] on the subject; returns the reply, which is JSON.
///
/// # Errors
///
/// [`AskError`]: a service's refusal, or the lack of a reply within `timeout`.
pub async fn ask(client: &Client, subject: String, body: Bytes, timeout: Duration) -> Result<Bytes, AskError> {
    let request = Request::new().payload(body).timeout(Some(timeout));
    let reply = client.send_request(subject, request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => AskError::NoResponders,
        RequestErrorKind::TimedOut => AskError::TimedOut(timeout),
        _ => AskError::Broken(error.to_string()),
    })?;
    let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str());
    let why = header(NATS_SERVICE_ERROR).unwrap_or_default().to_owned();
    match header(NATS_SERVICE_ERROR_CODE) {
        None => Ok(reply.payload),
        Some("404") => Err(AskError::NotFound(why)),
        Some("400") => Err(AskError::Invalid(why)),
        Some(code) => Err(AskError::Failed { code: code.to_owned(), why }),
    }
}

/// The future of a reply.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, QueryError>> + Send>>;

/// One query that a service replies to.
pub struct Endpoint {
    name: &'static str,
    subject: Cow<'static, str>,
    reply: Arc<dyn Fn(Query) -> ReplyFuture + Send + Sync>,
    /// The time limit of an endpoint that does more than reading the database.
    limit: Option<Duration>,
}

impl Endpoint {
    /// Declares an endpoint: its name, its subject (`order.query.get.*`), and a function that returns the reply, as
    /// JSON.
    pub fn new<F, Fut, A>(name: &'static str, subject: impl Into<Cow<'static, str>>, reply: F) -> Self
    where
        F: Fn(Query) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, QueryError>> + Send + 'static,
        A: Serialize,
    {
        let reply = move |query| -> ReplyFuture {
            let reply = reply(query);
            Box::pin(async move {
                let reply = reply.await?;
                serde_json::to_vec(&reply).map_err(|error| QueryError::Unavailable(error.into()))
            })
        };
        Self { name, subject: subject.into(), reply: Arc::new(reply), limit: None }
    }

    /// Sets the time limit of an endpoint that does more than reading the database.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

/// Database access for queries, with reports to readiness.
pub(crate) struct Reads {
    pub(crate) db: DatabaseConnection,
    pub(crate) watch: Watch,
}

impl Reads {
    pub(crate) fn new(db: DatabaseConnection, health: &Health) -> Self {
        Self { db, watch: Watch::new(health, QUERIES) }
    }

    /// Awaits the reply to one query; readiness reports a database that fails or does not respond.
    async fn replied(&self, reply: ReplyFuture) -> Result<Vec<u8>, QueryError> {
        let reply = async {
            match reply.await {
                // A reply that cannot be serialized is no outage.
                Err(QueryError::Unavailable(error)) if fault::of_any(&error) == Some(Fault::Outage) => Err(error),
                replied => Ok(replied),
            }
        };
        self.watch.answered(reply).await.unwrap_or_else(|error| Err(QueryError::Unavailable(error)))
    }

    /// Checks whether a database that failed a query responds again: the next query may be hours away.
    async fn check_again(&self) -> Infallible {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if self.watch.is_failing() {
                // Readiness reports the result.
                drop(self.watch.answered(Box::pin(self.db.ping())).await);
            }
        }
    }
}

/// Replies to queries until shutdown; those in progress are finished.
///
/// # Errors
///
/// If the endpoints cannot be registered.
pub(crate) async fn serve(
    client: Client,
    name: &str,
    description: Cow<'static, str>,
    version: Cow<'static, str>,
    endpoints: Vec<Endpoint>,
    reads: Reads,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let failed = |error: async_nats::Error| anyhow::anyhow!("registering the queries of {name}: {error}");
    let service = client.service_builder().description(description).start(name, version).await.map_err(failed)?;
    let (replies, reads) = (TaskTracker::new(), Arc::new(reads));
    let mut loops = Vec::new();
    for endpoint in endpoints {
        let mut requests =
            service.endpoint_builder().name(endpoint.name).add(endpoint.subject).await.map_err(failed)?;
        let (replies, reads, shutdown) = (replies.clone(), reads.clone(), shutdown.clone());
        loops.push(async move {
            let permits = Arc::new(Semaphore::new(CONCURRENT));
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = shutdown.cancelled() => return,
                };
                let Some(request) = request else { return };
                let (reply, reads) = (endpoint.reply.clone(), reads.clone());
                replies.spawn(async move {
                    let subject = &request.message.subject;
                    let key = subject.rsplit('.').next().unwrap_or_default().to_owned();
                    let query = Query { key, body: request.message.payload.clone() };
                    let replied = match endpoint.limit {
                        None => reads.replied(reply(query)).await,
                        Some(limit) => database::answered_within(limit, reply(query)).await,
                    };
                    let response = replied.map(Bytes::from).map_err(|error| service_error(subject, &error));
                    if let Err(error) = request.respond(response).await {
                        tracing::debug!(%error, "a reply could not be sent");
                    }
                    drop(permit);
                });
            }
        });
    }
    tokio::select! {
        _ = futures::future::join_all(loops) => {}
        never = reads.check_again() => match never {},
    }
    replies.close();
    replies.wait().await;
    Ok(())
}

fn service_error(subject: &str, error: &QueryError) -> ServiceError {
    let (code, status) = match error {
        QueryError::NotFound(detail) => (404, detail.clone()),
        QueryError::Invalid(why) => (400, why.clone()),
        QueryError::Unavailable(error) => {
            let (text, is_outage) = (fault::text(error), fault::of_any(error) == Some(Fault::Outage));
            let why = if is_outage {
                // Readiness and one log line per outage report it: see `Watch`.
                tracing::debug!(subject, error = text, "a query failed");
                "its database does not answer"
            } else {
                tracing::error!(subject, error = text, "a query failed");
                "the result is unavailable"
            };
            (503, format!("{why}; try again later"))
        }
    };
    ServiceError { code, status }
}
