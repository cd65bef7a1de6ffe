//! Requests and replies of the queries of the identity context.
//!
//! | subject | request | reply |
//! |---|---|---|
//! | `identity.query.sign-up` | [`SignUp`] | [`SignInReply`] |
//! | `identity.query.sign-in` | [`SignIn`] | [`SignInReply`] |
//! | `identity.query.refresh` | [`Refresh`] | [`SignInReply`] |
//! | `identity.query.sign-out` | [`SignOut`] | [`SignedOut`] |
//! | `identity.query.change-password` | [`ChangePassword`] | [`SignInReply`] |
//! | `identity.query.exchange-api-key` | [`ExchangeApiKey`] | [`SignInReply`], without a refresh token |
//! | `identity.query.issue-api-key` | [`IssueApiKey`] | [`IssuedApiKey`] |
//! | `identity.query.jwks` | nothing | [`JwkSet`] |
//! | `identity.query.rights` | [`ListRights`] | [`RightsPage`] |
//! | `identity.query.users` | [`ListUsers`] | [`Page`](crate::query::Page) of [`UserView`], by id |
//! | `identity.query.user.<userId>` | nothing | [`UserView`] |
//! | `identity.query.organisations` | [`ListOrganisations`] | [`Page`](crate::query::Page) of [`OrganisationView`], by id |
//!
//! Secrets travel in these bodies only: in core NATS, never in a stream. An invalid request is a query error (400); a
//! refusal is a reply, because its reason has a code.

use serde::{Deserialize, Serialize};

use super::{
    ApiKeyId, Grants, Jwk, OrganisationId, RightsChanged, RoleName, Secret, SessionEnded, SigningKeysChanged,
    UserId, UserKind,
};
use crate::CustomerId;
use crate::account::{Email, Line};

/// Creates a user with the role of a customer, and signs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignUp {
    /// The e-mail address; unique, compared in lower case.
    pub email: Email,
    /// The password: 12 to 128 characters.
    pub password: Secret,
    /// The displayed name.
    pub name: Line,
    /// The client's IP address, for the slow-down of attempts.
    pub address: String,
}

/// Signs in with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignIn {
    /// The e-mail address, as entered: an invalid one is refused as an unknown one is.
    pub email: String,
    /// The password.
    pub password: Secret,
    /// The client's IP address, for the slow-down of attempts.
    pub address: String,
}

/// Exchanges a refresh token for new tokens. Each refresh token is valid once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refresh {
    /// The newest refresh token of the session.
    pub refresh_token: Secret,
    /// The client's IP address, for the slow-down of attempts.
    pub address: String,
}

/// Ends a session. An unknown token ends nothing, and is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignOut {
    /// The refresh token of the session.
    pub refresh_token: Secret,
    /// The client's IP address.
    pub address: String,
}

/// The session is ended, if there was one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedOut {}

/// Changes the password: ends all sessions of the user, and signs in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangePassword {
    /// The user, by the verified access token.
    pub user_id: UserId,
    /// The current password.
    pub current_password: Secret,
    /// The new password: 12 to 128 characters.
    pub new_password: Secret,
    /// The client's IP address, for the slow-down of attempts.
    pub address: String,
}

/// Exchanges an API key for an access token. The session of the token is the key: its `sid` is the key's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeApiKey {
    /// The API key.
    pub api_key: Secret,
    /// The client's IP address, for the slow-down of attempts.
    pub address: String,
}

/// Issues an API key for a service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssueApiKey {
    /// The service account.
    pub user_id: UserId,
}

/// A new API key. It is shown once: identity-service keeps its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedApiKey {
    /// The id of the key, for its revocation.
    pub api_key_id: ApiKeyId,
    /// The key.
    pub api_key: Secret,
}

/// The tokens of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token: a JWT.
    pub access_token: Secret,
    /// The number of seconds until the access token expires.
    pub expires_in: u64,
    /// The refresh token; absent for an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// The user.
    pub user_id: UserId,
}

/// The result of a sign-in: `{"outcome": "signed-in", …}` or `{"outcome": "refused", "reason": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "outcome")]
pub enum SignInReply {
    /// The caller is signed in.
    SignedIn(Tokens),
    /// The caller is not signed in.
    Refused {
        /// The reason.
        reason: SignInRefusal,
        /// With [`SignInRefusal::TooManyAttempts`]: the seconds until the next attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_seconds: Option<u64>,
    },
}

/// The reason of a refused sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignInRefusal {
    /// The e-mail address is unknown, the password is wrong, or the user is disabled: the reply does not tell which.
    WrongCredentials,
    /// The refresh token is unknown, expired, or of an ended session.
    SessionEnded,
    /// The refresh token was used before; the session is ended now.
    TokenReused,
    /// Another user has the e-mail address.
    EmailInUse,
    /// Too many failed attempts for the account or from the address.
    TooManyAttempts,
}

impl SignInRefusal {
    /// Returns the reason as a sentence.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::WrongCredentials => "the e-mail address or the password is wrong",
            Self::SessionEnded => "the session has ended: sign in again",
            Self::TokenReused => "the refresh token was used before, so the session is ended: sign in again",
            Self::EmailInUse => "another user has this e-mail address: sign in, or use another address",
            Self::TooManyAttempts => "too many failed attempts: wait before the next one",
        }
    }
}

/// The public signing keys, as in RFC 7517 and RFC 8037.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<PublicJwk>,
}

/// One public signing key, with the members that RFC 8037 requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    /// The type of the key: `OKP`.
    pub kty: String,
    /// The curve: `Ed25519`.
    pub crv: String,
    /// The algorithm: `EdDSA`.
    pub alg: String,
    /// The use: `sig`.
    #[serde(rename = "use")]
    pub used_for: String,
    /// The id of the key.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

impl From<&Jwk> for PublicJwk {
    fn from(key: &Jwk) -> Self {
        let [kty, crv, alg, used_for] = ["OKP", "Ed25519", "EdDSA", "sig"].map(str::to_owned);
        Self { kty, crv, alg, used_for, kid: key.kid.to_string(), x: key.x.clone() }
    }
}

/// Selects a page of the rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListRights {
    /// Only users after this id: the `next` of the previous page.
    pub after: Option<UserId>,
    /// The maximum number of rows; [`DEFAULT_PAGE`](crate::query::DEFAULT_PAGE) if absent.
    pub limit: Option<u64>,
}

/// A page of the rights of all users, for services that build a copy. The first page also has the keys and the ended
/// sessions. A copy also follows the events since before the first page, and applies both by version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RightsPage {
    /// The rights, by user id.
    pub items: Vec<RightsChanged>,
    /// The cursor of the next page; absent on the last page.
    pub next: Option<UserId>,
    /// The signing keys; absent after the first page.
    pub signing_keys: Option<SigningKeysChanged>,
    /// The sessions that ended within the lifetime of an access token, the newest first, at most [`MAX_ENDED`]; none after
    /// the first page.
    pub ended_sessions: Vec<SessionEnded>,
    /// If more sessions have ended: access tokens issued earlier must be refused, in milliseconds since 1970.
    pub refused_before: Option<i64>,
}

/// The maximum number of ended sessions in a snapshot.
pub const MAX_ENDED: u64 = 2000;

/// Selects a page of users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListUsers {
    /// Only users after this id: the `next` of the previous page.
    pub after: Option<UserId>,
    /// The maximum number of rows; [`DEFAULT_PAGE`](crate::query::DEFAULT_PAGE) if absent.
    pub limit: Option<u64>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// The id of the user.
    pub user_id: UserId,
    /// The displayed name.
    pub name: Line,
    /// The e-mail address; absent for a service account.
    pub email: Option<Email>,
    /// Whether it is a person or a service account.
    pub kind: UserKind,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The roles.
    pub roles: Vec<RoleName>,
    /// The grants of the roles.
    pub grants: Grants,
    /// The organisations that the user is a member of.
    pub organisation_ids: Vec<OrganisationId>,
    /// The customers that the user acts for.
    pub customer_ids: Vec<CustomerId>,
    /// The ids of the valid API keys.
    pub api_key_ids: Vec<ApiKeyId>,
    /// The number of changes of the rights so far.
    pub version: i64,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// Selects a page of organisations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListOrganisations {
    /// Only organisations after this id: the `next` of the previous page.
    pub after: Option<OrganisationId>,
    /// The maximum number of rows; [`DEFAULT_PAGE`](crate::query::DEFAULT_PAGE) if absent.
    pub limit: Option<u64>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganisationView {
    /// The id of the organisation.
    pub organisation_id: OrganisationId,
    /// The name.
    pub name: Line,
    /// The number of members.
    pub members: u64,
}
