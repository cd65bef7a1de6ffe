//! For operators: dead letters and projections over HTTP, behind a switch.
//!
//! Neither served nor in `/openapi.json` unless switched on: the operations require no password, so every client of the
//! gateway could use them. They use a broker connection of their own, as the user `operator`; the gateway's own user
//! has none of these permissions.

mod form;
mod parameters;
mod projections;
mod representation;

use choreography::connection::NatsOptions;
use choreography::{Health, setting};
use choreography_http::body::Body;
use choreography_http::code::Code;
use choreography_http::json::JsonOf;
use choreography_http::parameter::{Path, Query, Sequence};
use choreography_http::problem::{Failure, Problem, unavailable};
use choreography_http::{failures, replies};
use choreography_ops::OperationError;
use choreography_ops::dead_letters::redrive::{Redriven, redrive};
use choreography_ops::dead_letters::{self, Filter, delete};
use choreography_ops::{OPERATOR, Operator};
use poem_openapi::OpenApi;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::Tag;
use crate::problems;
pub(crate) use form::{DeleteDeadLetterForm, RedriveForm};
pub(crate) use parameters::{Age, FilterText, ListLimit};
use projections::ProjectionsApi;
use representation::{DeadLetterDetail, DeadLetterPage, Deleted, Redrive};

/// Whether the operations are served, and the operator's password.
#[derive(Clone, Default, clap::Args)]
pub struct OperationsOptions {
    /// Serves `/operations` to every client of the gateway: dead letters are shown, redriven, and deleted; projections are
    /// paused, built again, and dropped.
    #[arg(long = "operations", env = "OPERATIONS", action = clap::ArgAction::Set, default_value_t = false,
        num_args = 0..=1, default_missing_value = "true", value_parser = setting::switch())]
    pub enabled: bool,
    /// The password of the user `operator` of nats.conf.
    #[arg(long, env = "OPERATOR_PASSWORD", hide_env_values = true, value_parser = setting::secret())]
    pub operator_password: Option<String>,
}

impl std::fmt::Debug for OperationsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperationsOptions").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// All operations.
pub(crate) type OperationsApi = (DeadLettersApi, ProjectionsApi);

/// The operations on dead letters.
pub(crate) struct DeadLettersApi {
    operator: Operator,
}

replies! {
    /// The dead letters, oldest first.
    ListedDeadLetters: DeadLetterPage;

    /// The dead letter with headers and body.
    GetDeadLetter: DeadLetterDetail;

    /// The result of each one; some may have failed again.
    RedriveDeadLetters: Redrive;

    /// The dead letter is deleted, and a copy is kept.
    DeleteDeadLetter: Deleted;
}

failures! {
    /// The errors of listing dead letters.
    ListFailures = Code::OF_QUERY;

    /// The errors of getting a dead letter.
    GetFailures = Code::OF_QUERY, &[problems::DEAD_LETTER_NOT_FOUND];

    /// The errors of redriving.
    RedriveFailures = Code::OF_QUERY, Code::OF_BODY;

    /// The errors of deleting a dead letter.
    DeleteDeadLetterFailures = Code::OF_QUERY, Code::OF_BODY, &[problems::DEAD_LETTER_NOT_FOUND];
}

#[OpenApi(prefix_path = "/operations/dead-letters", tag = "Tag::Operations")]
impl DeadLettersApi {
    /// List dead letters
    ///
    /// The messages that services could not process, oldest first.
    #[oai(path = "/", method = "get", operation_id = "listDeadLetters")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        /// Only dead letters of this service.
        service: Query<FilterText>,
        /// Only messages of this type, such as `order.placed` or `order.placed.v1`.
        #[oai(name = "type")]
        message_type: Query<FilterText>,
        /// Only dead letters whose reason or detail contains this text.
        reason: Query<FilterText>,
        /// Only messages with this business id.
        key: Query<FilterText>,
        /// Only messages dead-lettered at least this long ago, such as `90s`, `15m`, `2h`, or `3d`.
        #[oai(name = "before")]
        before: Query<Age>,
        /// Only messages dead-lettered at most this long ago.
        #[oai(name = "since")]
        since: Query<Age>,
        /// How many dead letters are listed at most.
        limit: Query<ListLimit>,
    ) -> Result<ListedDeadLetters, Failure<ListFailures>> {
        let text = |query: Query<FilterText>| query.0.map(|FilterText(text)| text);
        let age = |query: Query<Age>| query.0.map(|Age(age)| age);
        let filter = Filter {
            service: text(service),
            message_type: text(message_type),
            reason: text(reason),
            key: text(key),
            before: age(before),
            since: age(since),
        };
        let limit = usize::try_from(limit.0.unwrap_or_default().0).unwrap_or(usize::MAX);
        let listing = dead_letters::list(&self.operator, &filter, limit).await.map_err(|error| failed(&error))?;
        Ok(ListedDeadLetters::Found(JsonOf::serialized(&listing)?))
    }

    /// Get a dead letter
    #[oai(path = "/:sequence", method = "get", operation_id = "getDeadLetter")]
    async fn get(
        &self,
        /// Its sequence in the stream of dead letters.
        sequence: Path<Sequence>,
    ) -> Result<GetDeadLetter, Failure<GetFailures>> {
        let dead_letter = dead_letters::show(&self.operator, sequence.0.0).await.map_err(|error| failed(&error))?;
        let dead_letter = dead_letter.ok_or_else(|| Problem::new(problems::DEAD_LETTER_NOT_FOUND))?;
        Ok(GetDeadLetter::Found(JsonOf::serialized(&dead_letter)?))
    }

    /// Redrive dead letters
    ///
    /// Sends each one to the service that dead-lettered it: first one per second, then two, four, and so on. The
    /// redrive stops when one fails again. Processed dead letters are deleted. Redriving the same ones again is safe.
    /// The response follows when all have been tried.
    #[oai(path = "/redrive", method = "post", operation_id = "redriveDeadLetters")]
    async fn redrive(&self, body: Body<RedriveForm>) -> Result<RedriveDeadLetters, Failure<RedriveFailures>> {
        let RedriveForm { sequences, ramp } = body.0;
        let named = dead_letters::named(&self.operator, &sequences).await;
        let (dead_letters, absent) = named.map_err(|error| failed(&error))?;
        let mut results: Vec<Redriven> = Vec::with_capacity(dead_letters.len());
        let summary = redrive(&self.operator, &dead_letters, &ramp, &CancellationToken::new(), |redriven| {
            results.push(redriven.clone())
        })
        .await;
        let reported = json!({ "results": results, "absent": absent, "summary": summary });
        Ok(RedriveDeadLetters::Found(JsonOf::serialized(&reported)?))
    }

    /// Delete a dead letter
    ///
    /// A copy with the reason is kept, for as long as dead letters are kept.
    #[oai(path = "/:sequence/delete", method = "post", operation_id = "deleteDeadLetter")]
    async fn delete(
        &self,
        /// Its sequence in the stream of dead letters.
        sequence: Path<Sequence>,
        body: Body<DeleteDeadLetterForm>,
    ) -> Result<DeleteDeadLetter, Failure<DeleteDeadLetterFailures>> {
        let deleted = delete::delete(&self.operator, sequence.0.0, &body.0.0).await;
        let deleted = deleted.map_err(|error| failed(&error))?;
        if !deleted.deleted {
            return Err(Problem::new(problems::DEAD_LETTER_NOT_FOUND).into());
        }
        Ok(DeleteDeadLetter::Found(JsonOf::serialized(&deleted)?))
    }
}

/// Connects as the operator; `None` if the operations are switched off. Readiness has the connection's components as
/// `operator/nats` and `operator/nats-permissions`.
///
/// # Errors
///
/// If the URL of nats-server cannot be parsed.
pub(crate) async fn connect(
    options: &OperationsOptions,
    nats: &NatsOptions,
    health: &Health,
) -> anyhow::Result<Option<OperationsApi>> {
    if !options.enabled {
        return Ok(None);
    }
    let credentials = nats.nats_credentials.clone();
    let nats = NatsOptions {
        nats_url: nats.nats_url.clone(),
        nats_user: None,
        nats_password: options.operator_password.clone(),
        // Without a password of its own, the operator connects with the gateway's token, NKey, or `.creds` file.
        nats_credentials: if options.operator_password.is_some() { credentials.tls_only() } else { credentials },
    };
    let operator = Operator::connect_in_background(&nats, health.under(OPERATOR), choreo::shop()?).await?;
    tracing::warn!("every client of this address can read and change dead letters and projections at /operations");
    Ok(Some((DeadLettersApi { operator: operator.clone() }, ProjectionsApi { operator })))
}

fn failed(error: &OperationError) -> Problem {
    unavailable(&format!("{error:#}"))
}
