//! The rules of users and organisations; pure, no I/O.
//!
//! Each change of a user's rights is followed by a [`RightsChanged`] with all of
//! them, in the same history.

mod decide;
mod evolve;

use std::collections::BTreeSet;

use choreography::{Command, Messages};
use contracts::CustomerId;
use contracts::account::Line;
use contracts::identity::{
    ApiKeyId, Grants, IdentityCommand, OrganisationId, RightsChanged, RoleName, Roles, UserId, UserKind,
};
use contracts::topology::IDENTITY_SERVICE;
use serde::{Deserialize, Serialize};

pub use decide::decide;
pub use evolve::evolve;

/// The state of an id: a user or an organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// It has no history.
    #[default]
    Unknown,
    /// A user.
    User(User),
    /// An organisation.
    Organisation {
        /// The name.
        name: Line,
    },
}

/// A user: a person or a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub user_id: UserId,
    /// The displayed name.
    pub name: Line,
    /// Whether it is a person or a service account.
    pub kind: UserKind,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The roles.
    pub roles: BTreeSet<RoleName>,
    /// The grants, as last published.
    pub grants: Grants,
    /// The organisations.
    pub organisation_ids: BTreeSet<OrganisationId>,
    /// The customers that the user acts for.
    pub customer_ids: Vec<CustomerId>,
    /// The valid API keys.
    pub api_key_ids: BTreeSet<ApiKeyId>,
    /// Access tokens from before are refused, in milliseconds since 1970.
    pub valid_from: i64,
    /// The number of changes of the rights.
    pub version: i64,
}

impl User {
    fn new(user_id: UserId, name: Line, kind: UserKind) -> Self {
        Self {
            user_id,
            name,
            kind,
            disabled: false,
            roles: BTreeSet::new(),
            grants: Grants::default(),
            organisation_ids: BTreeSet::new(),
            customer_ids: Vec::new(),
            api_key_ids: BTreeSet::new(),
            valid_from: 0,
            version: 0,
        }
    }

    /// Returns the grants of the user's roles. A role that is no longer configured has none.
    #[must_use]
    pub fn grants_by(&self, roles: &Roles) -> Grants {
        self.roles.iter().filter_map(|role| roles.get(role)).flat_map(Grants::iter).collect()
    }

    /// Returns the rights as last published.
    #[must_use]
    pub fn rights(&self) -> RightsChanged {
        RightsChanged {
            user_id: self.user_id.clone(),
            version: self.version,
            name: self.name.clone(),
            kind: self.kind,
            disabled: self.disabled,
            roles: self.roles.iter().cloned().collect(),
            grants: self.grants.clone(),
            organisation_ids: self.organisation_ids.iter().cloned().collect(),
            customer_ids: self.customer_ids.clone(),
            valid_from: self.valid_from,
        }
    }
}

/// The messages that a user or an organisation reacts to: commands, and requests that arrive as queries because they
/// carry secrets. The latter are in no stream.
#[derive(Debug, Clone, PartialEq, Eq, Messages)]
pub enum IdentityMessage {
    /// A command.
    Command(IdentityCommand),
    /// Register a user.
    Register(RegisterUser),
    /// Record a new password.
    RecordPassword(RecordPassword),
    /// Record a new API key.
    RecordApiKey(RecordApiKey),
    /// Apply changed roles.
    ApplyRoles(ApplyRoles),
}

/// Register a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[message(context = "identity", name = "register-user", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RegisterUser {
    /// The id.
    pub user_id: UserId,
    /// The displayed name.
    pub name: Line,
    /// The roles.
    pub roles: Vec<RoleName>,
    /// The customers that the user acts for.
    pub customer_ids: Vec<CustomerId>,
}

/// Record that the password was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[message(context = "identity", name = "record-password", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RecordPassword {
    /// The user.
    pub user_id: UserId,
}

/// Record that an API key was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[message(context = "identity", name = "record-api-key", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct RecordApiKey {
    /// The service account.
    pub user_id: UserId,
    /// The id of the key.
    pub api_key_id: ApiKeyId,
}

/// Publish the rights again if the configured roles have other grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Command)]
#[message(context = "identity", name = "apply-roles", version = 1, key = user_id, producer = IDENTITY_SERVICE)]
pub struct ApplyRoles {
    /// The user.
    pub user_id: UserId,
}
