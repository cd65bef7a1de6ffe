//! For operators: dead letters over HTTP, behind a switch.
//!
//! Neither served nor in `/openapi.json` unless it is switched on: it asks for no password of its own, so whoever
//! reaches the gateway could use it. It speaks to the broker as the user `operator`, on a connection of its own; the
//! gateway's own user may do nothing of this.

mod form;
mod parameters;
mod representation;

use choreo::dead_letters::redrive::{Redriven, redrive};
use choreo::dead_letters::{self, Filter, delete};
use choreo::{OPERATOR, Operator};
use messaging::connection::NatsOptions;
use messaging::{Health, setting};
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::Tag;
use crate::body::Body;
use crate::commands::unavailable;
use crate::json::JsonOf;
use crate::parameter::{Path, Query, Sequence};
use crate::problem::{Code, Codes, Failure, Problem};
pub(crate) use form::{DeleteDeadLetterForm, RedriveForm};
pub(crate) use parameters::{Age, FilterText, ListLimit};
use representation::{DeadLetterDetail, DeadLetterPage, Deleted, Redrive};

/// Whether operators are served, and as whom.
#[derive(Clone, Default, clap::Args)]
pub struct OperationsOptions {
    /// Serves `/operations` to whoever can reach the gateway: dead letters are shown, sent back, and deleted.
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

/// What operators may do.
pub(crate) struct OperationsApi {
    operator: Operator,
}

/// Answers to `GET /operations/dead-letters`.
#[derive(ApiResponse)]
pub(crate) enum ListedDeadLetters {
    /// Dead dead letters, oldest first.
    #[oai(status = 200)]
    Page(JsonOf<DeadLetterPage>),
}

/// Answers to `GET /operations/dead-letters/{sequence}`.
#[derive(ApiResponse)]
pub(crate) enum GetDeadLetter {
    /// The dead letter with everything it carries.
    #[oai(status = 200)]
    Found(JsonOf<DeadLetterDetail>),
}

/// Answers to `POST /operations/dead-letters/redrive`.
#[derive(ApiResponse)]
pub(crate) enum RedriveDeadLetters {
    /// What became of each of them; not every one need be handled.
    #[oai(status = 200)]
    Tried(JsonOf<Redrive>),
}

/// Answers to `POST /operations/dead-letters/{sequence}/delete`.
#[derive(ApiResponse)]
pub(crate) enum DeleteDeadLetter {
    /// The dead letter is removed, and its copy kept.
    #[oai(status = 200)]
    Deleted(JsonOf<Deleted>),
}

/// How listing may fail.
pub(crate) struct ListFailures;

impl Codes for ListFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable];
}

/// How looking at one may fail.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::DeadLetterNotFound, Code::Unavailable];
}

/// How sending back may fail.
pub(crate) struct RedriveFailures;

impl Codes for RedriveFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::Unavailable,
    ];
}

/// How discarding may fail.
pub(crate) struct DeleteDeadLetterFailures;

impl Codes for DeleteDeadLetterFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::DeadLetterNotFound,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::Unavailable,
    ];
}

#[OpenApi(prefix_path = "/operations/dead-letters", tag = "Tag::Operations")]
impl OperationsApi {
    /// List dead letters
    ///
    /// What services could not handle, oldest first.
    #[oai(path = "/", method = "get", operation_id = "listDeadLetters")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        /// Only those of this service.
        service: Query<FilterText>,
        /// Only those of this type of message, such as `order.placed` or `order.placed.v1`.
        #[oai(name = "type")]
        message_type: Query<FilterText>,
        /// Only those whose reason contains this, in its word or its sentence.
        reason: Query<FilterText>,
        /// Only those about this business id.
        key: Query<FilterText>,
        /// Only those dead-lettered at least this long ago, such as `90s`, `15m`, `2h`, or `3d`.
        #[oai(name = "before")]
        before: Query<Age>,
        /// Only those dead-lettered at most this long ago.
        #[oai(name = "since")]
        since: Query<Age>,
        /// How many are listed at most.
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
        let ListLimit(limit) = limit.0.unwrap_or_default();
        let listing = dead_letters::list(&self.operator, &filter, limit).await.map_err(|error| failed(&error))?;
        Ok(ListedDeadLetters::Page(JsonOf::serialized(&listing)?))
    }

    /// See a dead letter
    #[oai(path = "/:sequence", method = "get", operation_id = "getDeadLetter")]
    async fn get(
        &self,
        /// Its sequence in the stream of dead letters.
        sequence: Path<Sequence>,
    ) -> Result<GetDeadLetter, Failure<GetFailures>> {
        let dead_letter = dead_letters::show(&self.operator, sequence.0.0).await.map_err(|error| failed(&error))?;
        let dead_letter = dead_letter.ok_or_else(|| Problem::new(Code::DeadLetterNotFound))?;
        Ok(GetDeadLetter::Found(JsonOf::serialized(&dead_letter)?))
    }

    /// Send dead letters back
    ///
    /// Each to the one service that dead-lettered it: first one, then two, four, … a second, and no more once one fails
    /// again. Those that are handled are removed. Sending the same ones again is safe. The answer comes when all have
    /// been tried.
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
        Ok(RedriveDeadLetters::Tried(JsonOf::serialized(&reported)?))
    }

    /// Discard a dead letter
    ///
    /// Removes it; a copy is kept with the reason, for as long as dead letters are.
    #[oai(path = "/:sequence/delete", method = "post", operation_id = "deleteDeadLetter")]
    async fn delete(
        &self,
        /// Its sequence in the stream of dead letters.
        sequence: Path<Sequence>,
        body: Body<DeleteDeadLetterForm>,
    ) -> Result<DeleteDeadLetter, Failure<DeleteDeadLetterFailures>> {
        let deleted = delete::delete(&self.operator, sequence.0.0, &body.0.reason).await;
        let deleted = deleted.map_err(|error| failed(&error))?;
        if !deleted.deleted {
            return Err(Problem::new(Code::DeadLetterNotFound).into());
        }
        Ok(DeleteDeadLetter::Deleted(JsonOf::serialized(&deleted)?))
    }
}

impl OperationsApi {
    /// Connects as the operator; `None` where operators are not served. Readiness has the connection's parts as
    /// `operator/nats` and `operator/nats-permissions`.
    ///
    /// # Errors
    ///
    /// Where the URL of nats-server cannot be parsed.
    pub(crate) async fn connect(
        options: &OperationsOptions,
        nats: &NatsOptions,
        health: &Health,
    ) -> anyhow::Result<Option<Self>> {
        if !options.enabled {
            return Ok(None);
        }
        let nats = NatsOptions {
            nats_url: nats.nats_url.clone(),
            nats_user: None,
            nats_password: options.operator_password.clone(),
        };
        let operator = Operator::connect_in_background(&nats, health.under(OPERATOR)).await?;
        tracing::warn!("dead letters are shown and changed at /operations, for whoever can reach this address");
        Ok(Some(Self { operator }))
    }
}

fn failed(error: &anyhow::Error) -> Problem {
    unavailable(&format!("{error:#}"))
}
