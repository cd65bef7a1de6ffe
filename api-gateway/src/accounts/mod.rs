//! The REST side of accounts: create, look, change, delete.
//!
//! Whoever changes an account wants to know at once whether it worked, because only one of several changes made on the
//! same version does. So these requests wait for the account service's answer, and are 202 only where it is away. An
//! `ETag` is the account's version in quotes.
//!
//! Without a key each request is a command of its own: the version it names, or for a creation the content, keep it
//! from being carried out twice. An id derived from the content, as orders have it, would make the creation of an
//! account that was deleted meanwhile look like the one before.

mod answers;
mod form;
mod outcome;
mod parameters;
mod representation;

use std::sync::Arc;
use std::time::Duration;

use contracts::CustomerId;
use contracts::account::{AccountCommand, AccountDetails, AccountEvent, AccountRefusal, DeleteAccount};
use contracts::query::AccountView;
use poem_openapi::OpenApi;
use uuid::Uuid;

use crate::Tag;
use crate::body::Body;
use crate::commands::{Commands, Draft, Request};
use crate::idempotency::{IdempotencyKey, Operation};
use crate::json::JsonOf;
use crate::parameter::{Header, Path, Prefer, TraceParent};
use crate::problem::{Code, Failure, Problem};
use crate::queries::Queries;
use answers::{
    AccountCreated, AccountDeleted, AccountUpdated, CreateFailures, DeleteFailures, GetAccount, GetFailures,
    UpdateFailures,
};
pub(crate) use form::{CreateAccountForm, UpdateAccountForm};
use outcome::Outcome;
pub(crate) use outcome::Outcomes;
pub(crate) use parameters::{AccountId, IfMatch};
use representation::{Account, AccountAccepted};

/// How long an answer is held where the caller does not say.
const WAIT: Duration = Duration::from_secs(5);

/// Accounts.
pub(crate) struct AccountsApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
    pub(crate) outcomes: Outcomes,
}

#[OpenApi(tag = "Tag::Accounts")]
impl AccountsApi {
    /// Create an account
    ///
    /// Answers once the account is there. Creating again what is there already, with the same content, has the same
    /// answer; with other content it is refused.
    #[oai(path = "/accounts", method = "post", operation_id = "createAccount")]
    async fn create(
        &self,
        /// Makes the request safe to repeat: a string in double quotes that the client thinks up for it, such as a
        /// UUID. The same key with the same content has the same answer and is carried out once; with other content
        /// it is refused. Keys are forgotten after 24 hours. A request that fails validation does not use its key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the answer N seconds at most until the account service has answered; without it, 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<CreateAccountForm>,
    ) -> Result<AccountCreated, Failure<CreateFailures>> {
        let creation = body.0.into_creation();
        let (id, details) = (creation.customer_id.clone(), creation.details.clone());
        let request = Asked {
            operation: Operation { template: "POST /accounts", id: "" },
            command: creation.into(),
            key: idempotency_key.0,
            trace_parent: trace_parent.0,
        };
        let outcome = self.command(&id, request, Some(&details), prefer.0).await?;
        let held = applied(prefer.0);
        let view = match outcome {
            Outcome::NotYet => return Ok(AccountCreated::Accepted(self.accepted(&id), location(&id), held)),
            Outcome::Present(view) => view,
            Outcome::Answered(event) => changed(event)?,
        };
        Ok(AccountCreated::Created(shown(&view)?, location(&id), etag(view.version), held))
    }

    /// See an account
    ///
    /// An account whose command is still under way does not exist yet.
    #[oai(path = "/accounts/:id", method = "get", operation_id = "getAccount")]
    async fn get(
        &self,
        /// The customer's id.
        id: Path<AccountId>,
    ) -> Result<GetAccount, Failure<GetFailures>> {
        let subject = format!("account.query.get.{}", id.0.0);
        let json = self.queries.get(subject, Code::AccountNotFound).await?;
        let view: AccountView = serde_json::from_slice(&json).map_err(|error| internal(&error))?;
        Ok(GetAccount::Found(JsonOf::relayed(json), etag(view.version)))
    }

    /// Change an account
    ///
    /// Replaces all that it says. Of several changes made on the same version one is carried out, the others are
    /// refused.
    #[oai(path = "/accounts/:id", method = "put", operation_id = "updateAccount")]
    async fn update(
        &self,
        /// The customer's id.
        id: Path<AccountId>,
        /// The `ETag` of the account as it was read.
        #[oai(name = "If-Match")]
        if_match: Header<IfMatch>,
        /// Makes the request safe to repeat, as for creating an account. Without a key, a request that was carried out
        /// is refused when it is repeated, because the account has another version then.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the answer N seconds at most until the account service has answered; without it, 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<UpdateAccountForm>,
    ) -> Result<AccountUpdated, Failure<UpdateFailures>> {
        let id = id.0.0;
        let expected = if_match.0.ok_or_else(|| Problem::new(Code::PreconditionRequired))?;
        let request = Asked {
            operation: Operation { template: "PUT /accounts/{id}", id: id.as_str() },
            command: body.0.into_update(&id, expected)?.into(),
            key: idempotency_key.0,
            trace_parent: trace_parent.0,
        };
        match self.command(&id, request, None, prefer.0).await? {
            Outcome::Answered(event) => {
                let view = changed(event)?;
                Ok(AccountUpdated::Updated(shown(&view)?, etag(view.version), applied(prefer.0)))
            }
            Outcome::Present(_) | Outcome::NotYet => {
                Ok(AccountUpdated::Accepted(self.accepted(&id), location(&id), applied(prefer.0)))
            }
        }
    }

    /// Delete an account
    ///
    /// Orders that are paid for stay so; others of the customer cannot be paid for any more.
    #[oai(path = "/accounts/:id", method = "delete", operation_id = "deleteAccount")]
    async fn delete(
        &self,
        /// The customer's id.
        id: Path<AccountId>,
        /// The `ETag` of the account as it was read.
        #[oai(name = "If-Match")]
        if_match: Header<IfMatch>,
        /// Makes the request safe to repeat, as for creating an account. Without a key, a request that was carried out
        /// finds no account when it is repeated.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the answer N seconds at most until the account service has answered; without it, 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
    ) -> Result<AccountDeleted, Failure<DeleteFailures>> {
        let id = id.0.0;
        let expected = if_match.0.ok_or_else(|| Problem::new(Code::PreconditionRequired))?;
        let deletion = DeleteAccount { customer_id: id.clone(), expected_version: expected.0 };
        let request = Asked {
            operation: Operation { template: "DELETE /accounts/{id}", id: id.as_str() },
            command: deletion.into(),
            key: idempotency_key.0,
            trace_parent: trace_parent.0,
        };
        match self.command(&id, request, None, prefer.0).await? {
            Outcome::Answered(AccountEvent::Deleted(_)) => Ok(AccountDeleted::Deleted(applied(prefer.0))),
            Outcome::Answered(event) => Err(refusal(event).into()),
            Outcome::Present(_) | Outcome::NotYet => {
                Ok(AccountDeleted::Accepted(self.accepted(&id), location(&id), applied(prefer.0)))
            }
        }
    }
}

/// What a request asks for.
struct Asked<'a> {
    operation: Operation<'a>,
    command: AccountCommand,
    key: Option<IdempotencyKey>,
    trace_parent: Option<TraceParent>,
}

impl AccountsApi {
    fn accepted(&self, id: &CustomerId) -> JsonOf<AccountAccepted> {
        JsonOf::written(&AccountAccepted::new(id, self.commands.durability()))
    }

    /// Publishes a command and waits for its answer.
    async fn command(
        &self,
        id: &CustomerId,
        asked: Asked<'_>,
        created: Option<&AccountDetails>,
        prefer: Option<Prefer>,
    ) -> Result<Outcome, Problem> {
        let request = Request {
            operation: asked.operation,
            draft: Draft::account(&asked.command)?,
            key: asked.key.as_ref(),
            id_without_key: Uuid::now_v7(),
            trace_parent: asked.trace_parent.and_then(|context| context.0),
        };
        let wait =
            prefer.and_then(|prefer| prefer.wait).map_or(WAIT, |seconds| Duration::from_secs(seconds.into()));
        // Listening begins before the command is published, or the event that answers it could be missed.
        let listener = self.outcomes.listen(id).await;
        let command = self.commands.publish(request).await?.id;
        Ok(match listener {
            Some(listener) => listener.outcome(command, created, wait).await,
            None => Outcome::NotYet,
        })
    }
}

/// Returns the account after a change, or why there was none.
fn changed(event: AccountEvent) -> Result<AccountView, Problem> {
    match event {
        AccountEvent::Changed(changed) => {
            Ok(AccountView { customer_id: changed.customer_id, version: changed.version, details: changed.details })
        }
        other => Err(refusal(other)),
    }
}

/// Returns the problem that an event other than the wanted one is.
fn refusal(event: AccountEvent) -> Problem {
    match event {
        AccountEvent::Refused(refused) => match refused.reason {
            AccountRefusal::AlreadyExists => Problem::new(Code::AccountAlreadyExists),
            AccountRefusal::NotFound => Problem::new(Code::AccountNotFound),
            AccountRefusal::VersionConflict { version } => Problem::account_has_changed(version),
        },
        AccountEvent::Changed(_) | AccountEvent::Deleted(_) => {
            tracing::error!(message_type = event.message_type(), "an event does not answer its command");
            Problem::new(Code::Internal)
        }
    }
}

fn shown(view: &AccountView) -> Result<JsonOf<Account>, Problem> {
    Ok(JsonOf::relayed(serde_json::to_vec(view).map_err(|error| internal(&error))?.into()))
}

fn internal(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an account cannot be read or written");
    Problem::new(Code::Internal)
}

/// Says that the caller's preference was heeded, where there was one.
fn applied(prefer: Option<Prefer>) -> Option<String> {
    prefer.and_then(|prefer| prefer.wait).map(|seconds| format!("wait={seconds}"))
}

fn location(id: &CustomerId) -> String {
    format!("/accounts/{id}")
}

fn etag(version: i64) -> String {
    format!("\"{version}\"")
}
