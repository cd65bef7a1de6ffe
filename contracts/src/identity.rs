//! The identity context: users, organisations, roles, sessions, and signing keys.
//!
//! [`RightsChanged`] carries the whole rights of a user and their version (event-carried state transfer), so that other
//! services check rights locally. No secret and no e-mail address is in a command or an event: secrets travel in
//! queries only, and stay in the database of identity-service.

use choreography::{Command, Event, Messages};
use serde::{Deserialize, Serialize};

use crate::CustomerId;
use crate::account::Line;
use crate::topology::{API_GATEWAY, IDENTITY_SERVICE};

mod permission;
mod query;
mod secret;

pub use crate::id::{ApiKeyId, KeyId, KeySet, OrganisationId, RoleName, SessionId, UserId};
pub use permission::{
    ADMIN, AUDITOR, CLERK, CUSTOMER, DEFAULT_ROLES, Grant, Grants, OPERATOR, Permission, Roles, Scope,
    UnknownPermission, default_roles,
};
pub use query::*;
pub use secret::{InvalidSecret, MAX_PASSWORD, MAX_SECRET, MIN_PASSWORD, Secret};

/// The maximum number of roles per user.
pub const MAX_ROLES: usize = 10;
/// The maximum number of organisations per user.
pub const MAX_ORGANISATIONS: usize = 20;
/// The maximum number of customers per user.
pub const MAX_CUSTOMERS: usize = 20;
/// The maximum number of API keys per service account.
pub const MAX_API_KEYS: usize = 5;
/// The maximum number of signing keys that are valid at one time.
pub const MAX_SIGNING_KEYS: usize = 8;

/// The issuer of access tokens: the claim `iss`.
pub const ISSUER: &str = "shop";
/// The audience of access tokens: the claim `aud`.
pub const AUDIENCE: &str = "shop";
/// The lifetime of an access token, in seconds.
pub const ACCESS_TOKEN_SECONDS: u64 = 600;
/// The key of the messages about signing keys.
pub const SIGNING_KEYS: &str = "keys";

/// The claims of an access token. It has no roles: the receiver looks up the rights of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: [`ISSUER`].
    pub iss: String,
    /// The audience: [`AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
}

/// The commands of the identity context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum IdentityCommand {
    /// Grant a role.
    GrantRole(GrantRole),
    /// Revoke a role.
    RevokeRole(RevokeRole),
    /// Disable a user.
    Disable(DisableUser),
    /// Enable a disabled user.
    Enable(EnableUser),
    /// Set the customers that a user acts for.
    SetCustomers(SetCustomers),
    /// Create a service account.
    CreateServiceAccount(CreateServiceAccount),
    /// Revoke an API key.
    RevokeApiKey(RevokeApiKey),
    /// Create an organisation.
    CreateOrganisation(CreateOrganisation),
    /// Add a user to an organisation.
    AddMember(AddMember),
    /// Remove a user from an organisation.
    RemoveMember(RemoveMember),
    /// Replace the signing key.
    RotateSigningKeys(RotateSigningKeys),
}

/// The events of the identity context.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum IdentityEvent {
    /// The rights of a user changed; the event carries all of them.
    RightsChanged(RightsChanged),
    /// A session ended.
    SessionEnded(SessionEnded),
    /// The signing keys changed; the event carries all of them.
    SigningKeysChanged(SigningKeysChanged),
    /// A user was registered.
    UserRegistered(UserRegistered),
    /// A role was granted.
    RoleGranted(RoleGranted),
    /// A role was revoked.
    RoleRevoked(RoleRevoked),
    /// A user was disabled.
    UserDisabled(UserDisabled),
    /// A user was enabled.
    UserEnabled(UserEnabled),
    /// A user changed the password.
    PasswordChanged(PasswordChanged),
    /// The customers of a user were set.
    CustomersSet(CustomersSet),
    /// An API key was issued.
    ApiKeyIssued(ApiKeyIssued),
    /// An API key was revoked.
    ApiKeyRevoked(ApiKeyRevoked),
    /// A user was added to an organisation.
    MemberAdded(MemberAdded),
    /// A user was removed from an organisation.
    MemberRemoved(MemberRemoved),
    /// An organisation was created.
    OrganisationCreated(OrganisationCreated),
    /// A command was refused; nothing changed.
    Refused(IdentityCommandRefused),
}

/// Whether a user is a person or a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// A person, who signs in with a password.
    User,
    /// A program, which signs in with an API key.
    Service,
}

/// The reason why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SessionEndReason {
    /// The user signed out.
    SignedOut,
    /// A refresh token was used twice.
    ReuseDetected,
    /// The password was changed.
    PasswordChanged,
    /// The API key was revoked.
    ApiKeyRevoked,
}

impl SessionEndReason {
    /// Returns its name in JSON and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::ReuseDetected => "reuse-detected",
            Self::PasswordChanged => "password-changed",
            Self::ApiKeyRevoked => "api-key-revoked",
        }
    }
}

/// One public signing key (Ed25519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Jwk {
    /// The id of the key, as in the header of a token.
    pub kid: KeyId,
    /// The public key: 32 bytes, base64url without padding.
    #[cfg_attr(feature = "schemas", schemars(length(equal = 43)))]
    pub x: String,
    /// When the key stops being valid, in milliseconds since 1970; absent for the key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<i64>,
}

/// The reason why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum IdentityRefusal {
    /// There is no such user.
    UserNotFound,
    /// The id belongs to another user.
    AlreadyExists,
    /// There is no such role: neither a default role, nor one of the `ROLES` file.
    UnknownRole,
    /// The user has as many roles, organisations, or customers as allowed.
    TooMany,
}

/// Grant a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "grant-role", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct GrantRole {
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: RoleName,
}

/// Revoke a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "revoke-role", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct RevokeRole {
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: RoleName,
}

/// Disable a user: no sign-in, and no token of the user is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "disable-user", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct DisableUser {
    /// The user.
    pub user_id: UserId,
}

/// Enable a disabled user. Tokens from before remain refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "enable-user", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct EnableUser {
    /// The user.
    pub user_id: UserId,
}

/// Set the customers that a user acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "set-customers", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct SetCustomers {
    /// The user.
    pub user_id: UserId,
    /// The customers; they replace the previous ones.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_CUSTOMERS)))]
    pub customer_ids: Vec<CustomerId>,
}

/// Create a service account. The query `issue-api-key` issues its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "create-service-account", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct CreateServiceAccount {
    /// The id of the account.
    pub user_id: UserId,
    /// The displayed name.
    pub name: Line,
    /// The roles.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_ROLES)))]
    pub roles: Vec<RoleName>,
}

/// Revoke an API key, and refuse its access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "revoke-api-key", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct RevokeApiKey {
    /// The service account.
    pub user_id: UserId,
    /// The key.
    pub api_key_id: ApiKeyId,
}

/// Create an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "create-organisation", version = 1, key = organisation_id, producer = API_GATEWAY)]
pub struct CreateOrganisation {
    /// The id of the organisation.
    pub organisation_id: OrganisationId,
    /// The name.
    pub name: Line,
}

/// Add a user to an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "add-member", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct AddMember {
    /// The user.
    pub user_id: UserId,
    /// The organisation.
    pub organisation_id: OrganisationId,
}

/// Remove a user from an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "remove-member", version = 1, key = user_id, producer = API_GATEWAY)]
pub struct RemoveMember {
    /// The user.
    pub user_id: UserId,
    /// The organisation.
    pub organisation_id: OrganisationId,
}

/// Replace the signing key. The previous key remains valid until its last token has expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "rotate-signing-keys", version = 1, key = key_set, producer = API_GATEWAY)]
pub struct RotateSigningKeys {
    /// Always `keys`.
    pub key_set: KeySet,
}

/// The rights of a user changed; the event carries all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "rights-changed", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RightsChanged {
    /// The user.
    pub user_id: UserId,
    /// The number of changes of the rights so far, including this one.
    pub version: i64,
    /// The displayed name.
    pub name: Line,
    /// Whether it is a person or a service account.
    pub kind: UserKind,
    /// Whether the user is disabled: no token is accepted.
    pub disabled: bool,
    /// The roles.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_ROLES)))]
    pub roles: Vec<RoleName>,
    /// The grants of the roles.
    pub grants: Grants,
    /// The organisations that the user is a member of.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_ORGANISATIONS)))]
    pub organisation_ids: Vec<OrganisationId>,
    /// The customers that the user acts for: what belongs to them is the user's own.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_CUSTOMERS)))]
    pub customer_ids: Vec<CustomerId>,
    /// Access tokens with an earlier `iat` are refused; in milliseconds since 1970, a multiple of 1000. Identity-service
    /// signs no later token with an earlier `iat`.
    pub valid_from: i64,
}

/// A session ended: its access tokens are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "session-ended", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct SessionEnded {
    /// The user.
    pub user_id: UserId,
    /// The session: the `sid` of its tokens.
    pub session_id: SessionId,
    /// The reason.
    pub reason: SessionEndReason,
}

/// The signing keys changed; the event carries all that are valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "signing-keys-changed", version = 1, key = key_set, producer = IDENTITY_SERVICE)]
pub struct SigningKeysChanged {
    /// Always `keys`.
    pub key_set: KeySet,
    /// The number of changes so far, including this one.
    pub version: i64,
    /// The valid keys, the one that signs first.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_SIGNING_KEYS)))]
    pub keys: Vec<Jwk>,
}

/// A user was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "user-registered", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct UserRegistered {
    /// The user.
    pub user_id: UserId,
    /// The displayed name.
    pub name: Line,
    /// Whether it is a person or a service account.
    pub kind: UserKind,
}

/// A role was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "role-granted", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RoleGranted {
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: RoleName,
}

/// A role was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "role-revoked", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RoleRevoked {
    /// The user.
    pub user_id: UserId,
    /// The role.
    pub role: RoleName,
}

/// A user was disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "user-disabled", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct UserDisabled {
    /// The user.
    pub user_id: UserId,
}

/// A user was enabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "user-enabled", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct UserEnabled {
    /// The user.
    pub user_id: UserId,
}

/// A user changed the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "password-changed", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct PasswordChanged {
    /// The user.
    pub user_id: UserId,
}

/// The customers of a user were set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "customers-set", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct CustomersSet {
    /// The user.
    pub user_id: UserId,
    /// The customers.
    #[cfg_attr(feature = "schemas", schemars(length(max = MAX_CUSTOMERS)))]
    pub customer_ids: Vec<CustomerId>,
}

/// An API key was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "api-key-issued", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct ApiKeyIssued {
    /// The service account.
    pub user_id: UserId,
    /// The id of the key.
    pub api_key_id: ApiKeyId,
}

/// An API key was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "api-key-revoked", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct ApiKeyRevoked {
    /// The service account.
    pub user_id: UserId,
    /// The id of the key.
    pub api_key_id: ApiKeyId,
}

/// A user was added to an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "member-added", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct MemberAdded {
    /// The user.
    pub user_id: UserId,
    /// The organisation.
    pub organisation_id: OrganisationId,
}

/// A user was removed from an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "member-removed", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct MemberRemoved {
    /// The user.
    pub user_id: UserId,
    /// The organisation.
    pub organisation_id: OrganisationId,
}

/// An organisation was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "organisation-created", version = 1, key = organisation_id, producer = IDENTITY_SERVICE)]
pub struct OrganisationCreated {
    /// The id of the organisation.
    pub organisation_id: OrganisationId,
    /// The name.
    pub name: Line,
}

/// A command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[message(context = "identity", name = "refused", version = 1, key = id, producer = IDENTITY_SERVICE)]
pub struct IdentityCommandRefused {
    /// The user or the organisation that the command concerns.
    pub id: UserId,
    /// The type of the command.
    pub command: String,
    /// The reason.
    pub reason: IdentityRefusal,
}
