//! Queries: request and reply over the NATS Services API, so that who asks needs no address and `nats service ls`
//! lists who answers.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::service::{ServiceExt, error::Error as ServiceError};
use bytes::Bytes;
use futures::StreamExt;
use sea_orm::DatabaseConnection;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::{self, Watch};
use crate::fault::{self, Fault};
use crate::health::Health;

/// The part of [`Health`] that says whether the database answers queries.
const QUERIES: &str = "queries";
/// The pause between two checks of a database that failed a query.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Requests an endpoint answers at the same time; the rest waits.
const CONCURRENT: usize = 32;

/// The most bytes of rows in a page: NATS takes no message over 1 MB.
const PAGE_BYTES: usize = 512 * 1024;

/// Cuts rows that were read, one more than `limit` of them, to a page: `limit` rows, or those that fit into a message,
/// but one at least. `size` returns about how many bytes a row takes in the answer. Returns whether more follow.
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

/// A request.
#[derive(Debug, Clone)]
pub struct Query {
    /// The last token of the subject: the business id that is asked about.
    pub key: String,
    /// The body; empty where the endpoint takes none.
    pub body: Bytes,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// What is asked about does not exist; answered with code 404.
    #[error("{0}")]
    NotFound(String),
    /// The question makes no sense; answered with code 400.
    #[error("{0}")]
    Invalid(String),
    /// The answer cannot be had now; logged, and answered with code 503 and no particulars but
    /// that it is the database.
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

impl From<sea_orm::DbErr> for QueryError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Unavailable(error.into())
    }
}

/// An answer being made.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, QueryError>> + Send>>;

/// One question that a service answers.
pub struct Endpoint {
    name: &'static str,
    subject: Cow<'static, str>,
    answer: Arc<dyn Fn(Query) -> Answering + Send + Sync>,
    /// How long it may take if it does more than reading the database.
    limit: Option<Duration>,
}

impl Endpoint {
    /// Declares an endpoint: its name, its subject (`order.query.get.*`), and what answers it, as JSON.
    pub fn new<F, Fut, A>(name: &'static str, subject: impl Into<Cow<'static, str>>, answer: F) -> Self
    where
        F: Fn(Query) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, QueryError>> + Send + 'static,
        A: Serialize,
    {
        let answer = move |query| -> Answering {
            let answering = answer(query);
            Box::pin(async move {
                let answer = answering.await?;
                serde_json::to_vec(&answer).map_err(|error| QueryError::Unavailable(error.into()))
            })
        };
        Self { name, subject: subject.into(), answer: Arc::new(answer), limit: None }
    }

    /// Gives an endpoint that does more than reading the database a time limit of its own.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

/// What the queries of a service read, and who learns whether it answers.
pub(crate) struct Reads {
    pub(crate) db: DatabaseConnection,
    pub(crate) watch: Watch,
}

impl Reads {
    pub(crate) fn new(db: DatabaseConnection, health: &Health) -> Self {
        Self { db, watch: Watch::new(health, QUERIES) }
    }

    /// Awaits the answer to one query; a database that fails or is silent shows in readiness.
    async fn answered(&self, answering: Answering) -> Result<Vec<u8>, QueryError> {
        let answering = async {
            match answering.await {
                // An answer that cannot be written down is no outage.
                Err(QueryError::Unavailable(error)) if fault::of_any(&error) == Some(Fault::Outage) => Err(error),
                answered => Ok(answered),
            }
        };
        self.watch.answered(answering).await.unwrap_or_else(|error| Err(QueryError::Unavailable(error)))
    }

    /// Looks whether a database that failed a query answers again: nobody may ask for hours.
    async fn look_again(&self) -> Infallible {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if self.watch.is_failing() {
                // What it says is in readiness.
                drop(self.watch.answered(Box::pin(self.db.ping())).await);
            }
        }
    }
}

/// Answers queries until shutdown; those begun are finished.
///
/// # Errors
///
/// Where the endpoints cannot be registered.
pub(crate) async fn serve(
    client: Client,
    name: &str,
    description: &str,
    version: &str,
    endpoints: Vec<Endpoint>,
    reads: Reads,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let failed = |error: async_nats::Error| anyhow::anyhow!("registering the queries of {name}: {error}");
    let service = client.service_builder().description(description).start(name, version).await.map_err(failed)?;
    let (answering, reads) = (TaskTracker::new(), Arc::new(reads));
    let mut loops = Vec::new();
    for endpoint in endpoints {
        let mut requests =
            service.endpoint_builder().name(endpoint.name).add(endpoint.subject).await.map_err(failed)?;
        let (answering, reads, shutdown) = (answering.clone(), reads.clone(), shutdown.clone());
        loops.push(async move {
            let permits = Arc::new(Semaphore::new(CONCURRENT));
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = shutdown.cancelled() => return,
                };
                let Some(request) = request else { return };
                let (answer, reads) = (endpoint.answer.clone(), reads.clone());
                answering.spawn(async move {
                    let subject = &request.message.subject;
                    let key = subject.rsplit('.').next().unwrap_or_default().to_owned();
                    let query = Query { key, body: request.message.payload.clone() };
                    let answered = match endpoint.limit {
                        None => reads.answered(answer(query)).await,
                        Some(limit) => database::answered_within(limit, answer(query)).await,
                    };
                    let response = answered.map(Bytes::from).map_err(|error| service_error(subject, &error));
                    if let Err(error) = request.respond(response).await {
                        tracing::debug!(%error, "an answer could not be sent");
                    }
                    drop(permit);
                });
            }
        });
    }
    tokio::select! {
        _ = futures::future::join_all(loops) => {}
        never = reads.look_again() => match never {},
    }
    answering.close();
    answering.wait().await;
    Ok(())
}

fn service_error(subject: &str, error: &QueryError) -> ServiceError {
    let (code, status) = match error {
        QueryError::NotFound(what) => (404, what.clone()),
        QueryError::Invalid(why) => (400, why.clone()),
        QueryError::Unavailable(error) => {
            let (text, is_outage) = (fault::text(error), fault::of_any(error) == Some(Fault::Outage));
            let why = if is_outage {
                // Readiness and one log line per outage name it: `Watch`.
                tracing::debug!(subject, error = text, "a query could not be answered");
                "its database does not answer"
            } else {
                tracing::error!(subject, error = text, "a query could not be answered");
                "the answer cannot be had now"
            };
            (503, format!("{why}; try again later"))
        }
    };
    ServiceError { code, status }
}
