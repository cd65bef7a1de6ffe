//! The REST operations on accounts: create, get, update, delete.
//!
//! Only one of several changes to the same version succeeds, so the caller needs the result at once. These requests
//! therefore wait for the account service's event, and respond with 202 only if the service is unavailable. An `ETag`
//! is the account's version in quotes.
//!
//! Without an idempotency key, each request is a command of its own. The version in it (or the content, for a creation)
//! prevents that it takes effect twice. An id derived from the content, as for orders, would not work here: creating an
//! account again after it was deleted would look like a repetition of the first creation.

mod form;
mod outcome;
mod parameters;
mod representation;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use choreography::Publish as _;
use choreography_http::auth::Caller;
use choreography_http::body::Body;
use choreography_http::commands::{Commands, Request, WithoutKey};
use choreography_http::idempotency::{IdempotencyKey, Operation};
use choreography_http::json::JsonOf;
use choreography_http::parameter::{Header, Path, Prefer, TraceParent};
use choreography_http::problem::{Failure, Problem, internal};
use choreography_http::queries::{Queries, decode};
use choreography_http::waiter::Waiters;
use contracts::CustomerId;
use contracts::account::{AccountCommand, AccountDetails, AccountEvent, AccountRefusal, DeleteAccount};
use contracts::query::AccountView;
use poem_openapi::OpenApi;

use crate::Tag;
use crate::problems;
pub(crate) use form::{CreateAccountForm, UpdateAccountForm};
use outcome::{Outcome, outcome, subjects};
pub(crate) use parameters::{AccountId, IfMatch};
use representation::AccountAccepted;
use responses::{
    AccountCreated, AccountDeleted, AccountUpdated, CreateFailures, DeleteFailures, GetAccount, GetFailures,
    UpdateFailures,
};

/// How long a response is held if the request has no `Prefer: wait`.
const WAIT: Duration = Duration::from_secs(5);

/// The operations on accounts.
pub(crate) struct AccountsApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
    pub(crate) waiters: Waiters,
    pub(crate) client: Client,
}

#[OpenApi(tag = "Tag::Accounts")]
impl AccountsApi {
    /// Create an account
    ///
    /// Responds once the account exists. Creating an existing account with the same content returns the same response;
    /// with other content it is refused.
    #[oai(path = "/accounts", method = "post", operation_id = "createAccount")]
    async fn create(
        &self,
        caller: Caller,
        /// Makes the request safe to repeat: a string in double quotes that the client generates, such as a UUID. The
        /// same key with the same content returns the same response, and the command is processed once; with other
        /// content the request is refused. Keys expire after 24 hours. A request that fails validation does not use its
        /// key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the response for at most N seconds until the account service replies; the default is 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<CreateAccountForm>,
    ) -> Result<AccountCreated, Failure<CreateFailures>> {
        let creation = body.0;
        if !caller.may_reach(creation.customer_id.as_str()) {
            return Err(crate::auth::foreign_customer().into());
        }
        let (id, details) = (creation.customer_id.clone(), creation.details.clone());
        let request = request(
            Operation { template: "POST /accounts", id: "" },
            idempotency_key.0.as_ref(),
            trace_parent.0,
            &caller,
        );
        let command = creation.into();
        let outcome = self.command(&id, command, request, Some(&details), prefer.0).await?;
        let held = prefer.0.and_then(Prefer::applied);
        let view = match outcome {
            None => return Ok(AccountCreated::Accepted(self.accepted(&id), location(&id), held)),
            Some(Outcome::Present(view)) => view,
            Some(Outcome::Replied(event)) => changed(event)?,
        };
        Ok(AccountCreated::Created(JsonOf::serialized(&view)?, location(&id), etag(view.version), held))
    }

    /// Get an account
    ///
    /// An account whose command is still being processed does not exist yet.
    #[oai(path = "/accounts/:id", method = "get", operation_id = "getAccount")]
    async fn get(
        &self,
        caller: Caller,
        /// The customer's id.
        id: Path<AccountId>,
    ) -> Result<GetAccount, Failure<GetFailures>> {
        reach(&caller, &id.0.0)?;
        let subject = format!("account.query.get.{}", id.0.0);
        let json = self.queries.get(subject, problems::ACCOUNT_NOT_FOUND).await?;
        let view: AccountView = decode(&json)?;
        Ok(GetAccount::Found(JsonOf::relayed(json), etag(view.version)))
    }

    /// Change an account
    ///
    /// Replaces the whole content. Of several changes to the same version one succeeds; the others are refused.
    #[oai(path = "/accounts/:id", method = "put", operation_id = "updateAccount")]
    #[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
    async fn update(
        &self,
        caller: Caller,
        /// The customer's id.
        id: Path<AccountId>,
        /// The `ETag` of the account that the client read.
        #[oai(name = "If-Match")]
        if_match: Header<IfMatch>,
        /// Makes the request safe to repeat, as for creating an account. Without a key, the repetition of a request
        /// that succeeded is refused, because the account has a new version by then.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the response for at most N seconds until the account service replies; the default is 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<UpdateAccountForm>,
    ) -> Result<AccountUpdated, Failure<UpdateFailures>> {
        let id = id.0.0;
        reach(&caller, &id)?;
        let expected = if_match.0.ok_or_else(|| Problem::new(problems::PRECONDITION_REQUIRED))?;
        let request = request(
            Operation { template: "PUT /accounts/{id}", id: id.as_str() },
            idempotency_key.0.as_ref(),
            trace_parent.0,
            &caller,
        );
        let command = body.0.into_update(&id, expected)?.into();
        match self.command(&id, command, request, None, prefer.0).await? {
            Some(Outcome::Replied(event)) => {
                let view = changed(event)?;
                Ok(AccountUpdated::Updated(
                    JsonOf::serialized(&view)?,
                    etag(view.version),
                    prefer.0.and_then(Prefer::applied),
                ))
            }
            Some(Outcome::Present(_)) | None => {
                Ok(AccountUpdated::Accepted(self.accepted(&id), location(&id), prefer.0.and_then(Prefer::applied)))
            }
        }
    }

    /// Delete an account
    ///
    /// Paid orders stay paid; the customer's other orders can no longer be paid for.
    #[oai(path = "/accounts/:id", method = "delete", operation_id = "deleteAccount")]
    async fn delete(
        &self,
        caller: Caller,
        /// The customer's id.
        id: Path<AccountId>,
        /// The `ETag` of the account that the client read.
        #[oai(name = "If-Match")]
        if_match: Header<IfMatch>,
        /// Makes the request safe to repeat, as for creating an account. Without a key, the repetition of a request
        /// that succeeded finds no account.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the response for at most N seconds until the account service replies; the default is 5.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
    ) -> Result<AccountDeleted, Failure<DeleteFailures>> {
        let id = id.0.0;
        reach(&caller, &id)?;
        let expected = if_match.0.ok_or_else(|| Problem::new(problems::PRECONDITION_REQUIRED))?;
        let deletion = DeleteAccount { customer_id: id.clone(), expected_version: expected.0 };
        let request = request(
            Operation { template: "DELETE /accounts/{id}", id: id.as_str() },
            idempotency_key.0.as_ref(),
            trace_parent.0,
            &caller,
        );
        let command = deletion.into();
        match self.command(&id, command, request, None, prefer.0).await? {
            Some(Outcome::Replied(AccountEvent::Deleted(_))) => {
                Ok(AccountDeleted::Deleted(prefer.0.and_then(Prefer::applied)))
            }
            Some(Outcome::Replied(event)) => Err(refusal(event).into()),
            Some(Outcome::Present(_)) | None => {
                Ok(AccountDeleted::Accepted(self.accepted(&id), location(&id), prefer.0.and_then(Prefer::applied)))
            }
        }
    }
}

fn reach(caller: &Caller, id: &CustomerId) -> Result<(), Problem> {
    if caller.may_reach(id.as_str()) { Ok(()) } else { Err(Problem::new(problems::ACCOUNT_NOT_FOUND)) }
}

fn request<'a>(
    operation: Operation<'a>,
    key: Option<&'a IdempotencyKey>,
    trace_parent: Option<TraceParent>,
    caller: &Caller,
) -> Request<'a> {
    Request { operation, key, without_key: WithoutKey::NewId, trace_parent, auth: caller.auth() }
}

impl AccountsApi {
    fn accepted(&self, id: &CustomerId) -> JsonOf<AccountAccepted> {
        JsonOf::written(&AccountAccepted::new(id, self.commands.durability()))
    }

    /// Publishes a command and waits for the event that it causes.
    async fn command(
        &self,
        id: &CustomerId,
        command: AccountCommand,
        request: Request<'_>,
        created: Option<&AccountDetails>,
        prefer: Option<Prefer>,
    ) -> Result<Option<Outcome>, Problem> {
        let wait = prefer.and_then(Prefer::duration).unwrap_or(WAIT);
        let waiter = self.waiters.subscribe(subjects(id)).await;
        let command = self.commands.send(&command, request).await?.id;
        Ok(match waiter {
            Some(waiter) => outcome(waiter, (&self.client, &self.queries), id, command, created, wait).await,
            None => None,
        })
    }
}

/// Returns the account after a change, or the reason for the refusal.
fn changed(event: AccountEvent) -> Result<AccountView, Problem> {
    match event {
        AccountEvent::Changed(changed) => {
            Ok(AccountView { customer_id: changed.customer_id, version: changed.version, details: changed.details })
        }
        other => Err(refusal(other)),
    }
}

/// Maps an event that refuses a command to a problem.
fn refusal(event: AccountEvent) -> Problem {
    match event {
        AccountEvent::Refused(refused) => match refused.reason {
            AccountRefusal::AlreadyExists => Problem::new(problems::ACCOUNT_ALREADY_EXISTS),
            AccountRefusal::NotFound => Problem::new(problems::ACCOUNT_NOT_FOUND),
            AccountRefusal::VersionConflict { version } => problems::account_has_changed(version),
        },
        AccountEvent::Changed(_) | AccountEvent::Deleted(_) => {
            internal(&event.message_type(), "an event does not match the command that caused it")
        }
    }
}

fn location(id: &CustomerId) -> String {
    format!("/accounts/{id}")
}

fn etag(version: i64) -> String {
    format!("\"{version}\"")
}
