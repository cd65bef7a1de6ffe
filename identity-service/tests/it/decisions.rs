//! given / when / then for one user.

use contracts::account::Line;
use contracts::identity::{
    ApiKeyId, CreateOrganisation, CreateServiceAccount, DisableUser, EnableUser, GrantRole, IdentityCommand,
    IdentityEvent, IdentityRefusal, MAX_API_KEYS, MAX_ROLES, OrganisationId, Permission, RevokeApiKey, RevokeRole,
    RightsChanged, RoleName, Roles, Scope, UserId, default_roles,
};
use identity_service::user::{
    Identity, IdentityMessage, RecordApiKey, RecordPassword, RegisterUser, decide, evolve,
};

const NOW: i64 = 1_764_320_000_001;

fn user_id() -> UserId {
    UserId::parse("ada").unwrap()
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

fn roles() -> Roles {
    let mut roles = default_roles();
    let more = (0..20).map(|n| (role(&format!("role-{n}")), contracts::identity::Grants::default()));
    roles.extend(more);
    roles
}

/// Decides a message and applies the events.
fn apply(state: &mut Identity, message: impl Into<IdentityMessage>) -> Vec<IdentityEvent> {
    let events = decide(&roles(), state, &message.into(), NOW);
    for event in &events {
        *state = evolve(std::mem::take(state), event);
    }
    events
}

fn registered() -> Identity {
    let mut state = Identity::default();
    let register = RegisterUser {
        user_id: user_id(),
        name: Line::parse("Ada").unwrap(),
        roles: vec![role("customer")],
        customer_ids: vec![],
    };
    assert_eq!(apply(&mut state, register).len(), 3);
    state
}

fn rights(events: &[IdentityEvent]) -> &RightsChanged {
    match events.last() {
        Some(IdentityEvent::RightsChanged(rights)) => rights,
        other => panic!("{other:?}"),
    }
}

fn refusal(events: &[IdentityEvent]) -> Option<IdentityRefusal> {
    match events {
        [IdentityEvent::Refused(refused)] => Some(refused.reason),
        _ => None,
    }
}

fn command(command: impl Into<IdentityCommand>) -> IdentityMessage {
    IdentityMessage::Command(command.into())
}

#[test]
fn a_granted_role_adds_its_permissions_and_a_revoked_one_removes_them() {
    let mut user = registered();
    let granted = apply(&mut user, command(GrantRole { user_id: user_id(), role: role("auditor") }));
    let after = rights(&granted);
    assert_eq!(after.version, 2);
    assert_eq!(after.grants.scope(Permission::OrdersRead), Some(Scope::All));
    assert_eq!(after.grants.scope(Permission::OrdersPlace), Some(Scope::Own));
    assert_eq!(after.grants.scope(Permission::OperationsWrite), None);
    let again = apply(&mut user, command(GrantRole { user_id: user_id(), role: role("auditor") }));
    assert_eq!(again, []);
    let revoked = apply(&mut user, command(RevokeRole { user_id: user_id(), role: role("auditor") }));
    assert_eq!(rights(&revoked).grants.scope(Permission::OrdersRead), Some(Scope::Own));
}

#[test]
fn a_disabled_user_loses_all_tokens_of_before_and_only_those() {
    let mut user = registered();
    let disabled = apply(&mut user, command(DisableUser { user_id: user_id() }));
    assert!(rights(&disabled).disabled);
    assert_eq!(rights(&disabled).valid_from, 1_764_320_001_000, "rounded up to a whole second");
    assert_eq!(apply(&mut user, command(DisableUser { user_id: user_id() })), []);
    let enabled = apply(&mut user, command(EnableUser { user_id: user_id() }));
    assert!(!rights(&enabled).disabled);
    assert_eq!(rights(&enabled).valid_from, 1_764_320_001_000);
}

#[test]
fn a_new_password_makes_earlier_tokens_invalid() {
    let mut user = registered();
    assert_eq!(rights(&apply(&mut user, RecordPassword { user_id: user_id() })).valid_from, 1_764_320_001_000);
}

#[test]
fn commands_without_effect_are_refused_with_a_reason() {
    let mut unknown = Identity::default();
    let grant = |name: &str| command(GrantRole { user_id: user_id(), role: role(name) });
    assert_eq!(refusal(&apply(&mut unknown, grant("clerk"))), Some(IdentityRefusal::UserNotFound));
    let mut user = registered();
    assert_eq!(refusal(&apply(&mut user, grant("king"))), Some(IdentityRefusal::UnknownRole));
    for n in 0..MAX_ROLES - 1 {
        assert_eq!(apply(&mut user, grant(&format!("role-{n}"))).len(), 2);
    }
    assert_eq!(refusal(&apply(&mut user, grant("clerk"))), Some(IdentityRefusal::TooMany));
    let organisation_id = OrganisationId::parse("ada").unwrap();
    let create = CreateOrganisation { organisation_id, name: Line::parse("Example Ltd").unwrap() };
    assert_eq!(refusal(&apply(&mut user, command(create.clone()))), Some(IdentityRefusal::AlreadyExists));
    assert_eq!(apply(&mut unknown, command(create.clone())).len(), 1);
    assert_eq!(apply(&mut unknown, command(create)), []);
    assert_eq!(refusal(&apply(&mut unknown, grant("clerk"))), Some(IdentityRefusal::UserNotFound));
}

#[test]
fn only_a_service_account_has_api_keys_and_only_a_few() {
    let mut person = registered();
    let record =
        |n: usize| RecordApiKey { user_id: user_id(), api_key_id: ApiKeyId::parse(format!("k{n}")).unwrap() };
    assert_eq!(apply(&mut person, record(0)), []);
    let mut service = Identity::default();
    let create = CreateServiceAccount {
        user_id: user_id(),
        name: Line::parse("Import").unwrap(),
        roles: vec![role("clerk")],
    };
    assert_eq!(rights(&apply(&mut service, command(create.clone()))).roles, [role("clerk")]);
    assert_eq!(refusal(&apply(&mut service, command(create))), Some(IdentityRefusal::AlreadyExists));
    for n in 0..MAX_API_KEYS {
        assert_eq!(apply(&mut service, record(n)).len(), 1);
    }
    assert_eq!(apply(&mut service, record(9)), []);
    let revoke = |id: &str| command(RevokeApiKey { user_id: user_id(), api_key_id: ApiKeyId::parse(id).unwrap() });
    let revoked = apply(&mut service, revoke("k0"));
    assert!(
        matches!(&revoked[..], [IdentityEvent::ApiKeyRevoked(_), IdentityEvent::SessionEnded(_)]),
        "{revoked:?}"
    );
    assert_eq!(apply(&mut service, revoke("k0")), []);
}

#[test]
fn the_default_roles_grant_what_the_table_says() {
    let roles = default_roles();
    let scope = |name: &str, permission| roles[&role(name)].scope(permission);
    assert_eq!(roles.len(), 5);
    for permission in Permission::ALL {
        assert_eq!(scope("admin", permission), Some(Scope::All));
        assert_eq!(scope("auditor", permission), permission.is_read().then_some(Scope::All), "{permission}");
    }
    assert_eq!(scope("customer", Permission::ProductsRead), Some(Scope::All));
    assert_eq!(scope("customer", Permission::AccountsWrite), Some(Scope::Own));
    assert_eq!(scope("customer", Permission::ProductsRestock), None);
    assert_eq!(scope("clerk", Permission::ProductsRestock), Some(Scope::All));
    assert_eq!(scope("clerk", Permission::OperationsRead), None);
    assert_eq!(scope("operator", Permission::OperationsWrite), Some(Scope::All));
    assert_eq!(scope("operator", Permission::AccountsRead), None);
}
