//! Queries: request and reply over the NATS Services API, so that who asks needs no address and `nats service ls`
//! lists who answers.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::Client;
use async_nats::service::{ServiceExt, error::Error as ServiceError};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault;

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
    /// The answer cannot be had now; logged, and answered with code 503 and no particulars.
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
        Self { name, subject: subject.into(), answer: Arc::new(answer) }
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
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let failed = |error: async_nats::Error| anyhow::anyhow!("registering the queries of {name}: {error}");
    let service = client.service_builder().description(description).start(name, version).await.map_err(failed)?;
    let answering = TaskTracker::new();
    let mut loops = Vec::new();
    for endpoint in endpoints {
        let mut requests =
            service.endpoint_builder().name(endpoint.name).add(endpoint.subject).await.map_err(failed)?;
        let (answering, shutdown) = (answering.clone(), shutdown.clone());
        loops.push(async move {
            let permits = Arc::new(Semaphore::new(CONCURRENT));
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = shutdown.cancelled() => return,
                };
                let Some(request) = request else { return };
                let answer = endpoint.answer.clone();
                answering.spawn(async move {
                    let subject = &request.message.subject;
                    let key = subject.rsplit('.').next().unwrap_or_default().to_owned();
                    let query = Query { key, body: request.message.payload.clone() };
                    let response =
                        answer(query).await.map(Bytes::from).map_err(|error| service_error(subject, &error));
                    if let Err(error) = request.respond(response).await {
                        tracing::debug!(%error, "an answer could not be sent");
                    }
                    drop(permit);
                });
            }
        });
    }
    futures::future::join_all(loops).await;
    answering.close();
    answering.wait().await;
    Ok(())
}

fn service_error(subject: &str, error: &QueryError) -> ServiceError {
    let (code, status) = match error {
        QueryError::NotFound(what) => (404, what.clone()),
        QueryError::Invalid(why) => (400, why.clone()),
        QueryError::Unavailable(error) => {
            tracing::error!(subject, error = fault::text(error), "a query could not be answered");
            (503, "the answer cannot be had now; try again later".to_owned())
        }
    };
    ServiceError { code, status }
}
