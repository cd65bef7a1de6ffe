//! The responses of the account operations, each with its status, and the errors of each operation.

use choreography_http::code::Code;
use choreography_http::failures;
use choreography_http::json::JsonOf;
use poem_openapi::ApiResponse;

use super::representation::{Account, AccountAccepted};
use crate::problems;

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

failures! {
    /// The errors of `POST /accounts`.
    CreateFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY, &[problems::ACCOUNT_ALREADY_EXISTS];

    /// The errors of `GET /accounts/{id}`.
    GetFailures = Code::OF_QUERY, &[problems::ACCOUNT_NOT_FOUND];

    /// The errors of `PUT /accounts/{id}`.
    UpdateFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY, &[problems::ACCOUNT_NOT_FOUND, problems::ACCOUNT_HAS_CHANGED, problems::PRECONDITION_REQUIRED];

    /// The errors of `DELETE /accounts/{id}`.
    DeleteFailures = Code::OF_QUERY, Code::OF_KEY, &[problems::ACCOUNT_NOT_FOUND, problems::ACCOUNT_HAS_CHANGED, problems::PRECONDITION_REQUIRED];
}
