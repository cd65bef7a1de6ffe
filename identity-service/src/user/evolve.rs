//! The state after an event.

use std::collections::BTreeSet;

use contracts::identity::{IdentityEvent, RightsChanged};

use super::{Identity, User};

/// Returns the state after an event. An event that does not fit the state changes nothing.
#[must_use]
pub fn evolve(state: Identity, event: &IdentityEvent) -> Identity {
    match (state, event) {
        (Identity::Unknown, IdentityEvent::UserRegistered(registered)) => {
            Identity::User(User::new(registered.user_id.clone(), registered.name.clone(), registered.kind))
        }
        (Identity::Unknown, IdentityEvent::OrganisationCreated(created)) => {
            Identity::Organisation { name: created.name.clone() }
        }
        (Identity::User(mut user), event) => {
            apply(&mut user, event);
            Identity::User(user)
        }
        (state, _) => state,
    }
}

/// Applies an event to a user.
pub(super) fn apply(user: &mut User, event: &IdentityEvent) {
    match event {
        IdentityEvent::RightsChanged(rights) => published(user, rights),
        IdentityEvent::RoleGranted(granted) => _ = user.roles.insert(granted.role.clone()),
        IdentityEvent::RoleRevoked(revoked) => _ = user.roles.remove(&revoked.role),
        IdentityEvent::UserDisabled(_) => user.disabled = true,
        IdentityEvent::UserEnabled(_) => user.disabled = false,
        IdentityEvent::CustomersSet(set) => user.customer_ids.clone_from(&set.customer_ids),
        IdentityEvent::ApiKeyIssued(issued) => _ = user.api_key_ids.insert(issued.api_key_id.clone()),
        IdentityEvent::ApiKeyRevoked(revoked) => _ = user.api_key_ids.remove(&revoked.api_key_id),
        IdentityEvent::MemberAdded(added) => _ = user.organisation_ids.insert(added.organisation_id.clone()),
        IdentityEvent::MemberRemoved(removed) => _ = user.organisation_ids.remove(&removed.organisation_id),
        IdentityEvent::UserRegistered(_)
        | IdentityEvent::PasswordChanged(_)
        | IdentityEvent::SessionEnded(_)
        | IdentityEvent::SigningKeysChanged(_)
        | IdentityEvent::OrganisationCreated(_)
        | IdentityEvent::Refused(_) => {}
    }
}

/// Takes over what only the published rights have; the roles and the rest are of the events before.
fn published(user: &mut User, rights: &RightsChanged) {
    user.grants = rights.grants.clone();
    user.valid_from = rights.valid_from;
    user.version = rights.version;
    debug_assert_eq!(user.roles, rights.roles.iter().cloned().collect::<BTreeSet<_>>());
}
