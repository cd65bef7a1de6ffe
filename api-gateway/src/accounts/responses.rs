//! The responses of the account operations, each with its status, and the errors of each operation.

use poem_openapi::ApiResponse;

use super::representation::{Account, AccountAccepted};
use crate::json::JsonOf;
use crate::problem::{Code, Codes};

/// The responses of `POST /accounts`.
#[derive(ApiResponse)]
pub(crate) enum AccountCreated {
    /// The account exists, with this content.
    #[oai(status = 201)]
    Created(
        JsonOf<Account>,
        /// The path of the account.
        #[oai(header = "Location")]
        String,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not replied in time. The command is stored and will be processed.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// The path of the account, which may not exist yet.
        #[oai(header = "Location")]
        String,
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// The responses of `GET /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum GetAccount {
    /// The current account.
    #[oai(status = 200)]
    Found(
        JsonOf<Account>,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The responses of `PUT /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum AccountUpdated {
    /// The account after the change.
    #[oai(status = 200)]
    Updated(
        JsonOf<Account>,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not replied in time. The command is stored and will be processed.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// The path of the account.
        #[oai(header = "Location")]
        String,
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// The responses of `DELETE /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum AccountDeleted {
    /// The account is deleted.
    #[oai(status = 204)]
    Deleted(
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not replied in time. The command is stored and will be processed.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// The path of the account, which exists until the command is processed.
        #[oai(header = "Location")]
        String,
        /// The waiting time that the gateway applied, if the request had `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// The errors of `POST /accounts`.
pub(crate) struct CreateFailures;

impl Codes for CreateFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::AccountAlreadyExists,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::IdempotencyKeyReused,
        Code::Unavailable,
    ];
}

/// The errors of `GET /accounts/{id}`.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::AccountNotFound, Code::Unavailable];
}

/// The errors of `PUT /accounts/{id}`.
pub(crate) struct UpdateFailures;

impl Codes for UpdateFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::AccountNotFound,
        Code::AccountHasChanged,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::IdempotencyKeyReused,
        Code::PreconditionRequired,
        Code::Unavailable,
    ];
}

/// The errors of `DELETE /accounts/{id}`.
pub(crate) struct DeleteFailures;

impl Codes for DeleteFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::AccountNotFound,
        Code::AccountHasChanged,
        Code::IdempotencyKeyReused,
        Code::PreconditionRequired,
        Code::Unavailable,
    ];
}
