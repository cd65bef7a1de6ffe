//! The answers to requests about accounts, each with its status, and how each request may fail.

use poem_openapi::ApiResponse;

use super::representation::{Account, AccountAccepted};
use crate::json::JsonOf;
use crate::problem::{Code, Codes};

/// Answers to `POST /accounts`.
#[derive(ApiResponse)]
pub(crate) enum AccountCreated {
    /// The account is there, with this content.
    #[oai(status = 201)]
    Created(
        JsonOf<Account>,
        /// Where the account is to be seen.
        #[oai(header = "Location")]
        String,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not answered in time. The command is stored and will be carried out, if it can be.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// Where the account will be seen.
        #[oai(header = "Location")]
        String,
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// Answers to `GET /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum GetAccount {
    /// The account as it stands.
    #[oai(status = 200)]
    Found(
        JsonOf<Account>,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

/// Answers to `PUT /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum AccountUpdated {
    /// The account as it is now.
    #[oai(status = 200)]
    Updated(
        JsonOf<Account>,
        /// The account's version, in quotes.
        #[oai(header = "ETag")]
        String,
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not answered in time. The command is stored and will be carried out, if it can be.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// Where the account is to be seen.
        #[oai(header = "Location")]
        String,
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// Answers to `DELETE /accounts/{id}`.
#[derive(ApiResponse)]
pub(crate) enum AccountDeleted {
    /// The account is no more.
    #[oai(status = 204)]
    Deleted(
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The account service has not answered in time. The command is stored and will be carried out, if it can be.
    #[oai(status = 202)]
    Accepted(
        JsonOf<AccountAccepted>,
        /// Where the account is to be seen until then.
        #[oai(header = "Location")]
        String,
        /// How long the answer may have been held, where the caller said so.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

/// How `POST /accounts` may fail.
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

/// How looking at an account may fail.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::AccountNotFound, Code::Unavailable];
}

/// How `PUT /accounts/{id}` may fail.
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

/// How `DELETE /accounts/{id}` may fail.
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
