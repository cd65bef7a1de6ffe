//! The decisions.

use contracts::CustomerId;
use contracts::identity::{
    ApiKeyIssued, ApiKeyRevoked, CreateOrganisation, CreateServiceAccount, CustomersSet, IdentityCommand,
    IdentityCommandRefused, IdentityEvent, IdentityRefusal, MAX_API_KEYS, MAX_CUSTOMERS, MAX_ORGANISATIONS,
    MAX_ROLES, MemberAdded, MemberRemoved, OrganisationCreated, PasswordChanged, RevokeApiKey, RoleGranted,
    RoleName, RoleRevoked, Roles, SessionEndReason, SessionEnded, SessionId, UserDisabled, UserEnabled, UserId,
    UserKind, UserRegistered,
};

use super::evolve::apply;
use super::{Identity, IdentityMessage, User};

/// The events about one user, and the user after them.
struct Change<'a> {
    user: User,
    events: Vec<IdentityEvent>,
    roles: &'a Roles,
}

impl<'a> Change<'a> {
    fn of(user: User, roles: &'a Roles) -> Self {
        Self { user, events: Vec::new(), roles }
    }

    fn event(mut self, event: impl Into<IdentityEvent>) -> Self {
        let event = event.into();
        apply(&mut self.user, &event);
        self.events.push(event);
        self
    }

    /// Ends with the rights; access tokens from before `valid_from` are refused from now on.
    fn rights(mut self, valid_from: Option<i64>) -> Vec<IdentityEvent> {
        let mut rights = self.user.rights();
        rights.version += 1;
        rights.grants = self.user.grants_by(self.roles);
        rights.valid_from = valid_from.unwrap_or(rights.valid_from).max(rights.valid_from);
        self.events.push(rights.into());
        self.events
    }
}

/// Returns the events that a message causes; `now` is in milliseconds since 1970.
#[must_use]
pub fn decide(roles: &Roles, state: &Identity, message: &IdentityMessage, now: i64) -> Vec<IdentityEvent> {
    let decided = match message {
        IdentityMessage::Command(command) => command_to(roles, state, command, now),
        IdentityMessage::Register(register) => match state {
            Identity::Unknown => {
                let person = (register.user_id.clone(), register.name.clone(), UserKind::User);
                Ok(registered(roles, person, &register.roles, &register.customer_ids))
            }
            _ => Err(IdentityRefusal::AlreadyExists),
        },
        IdentityMessage::RecordPassword(_) => user_of(state).map(|user| {
            let changed = PasswordChanged { user_id: user.user_id.clone() };
            Change::of(user.clone(), roles).event(changed).rights(Some(whole_second(now)))
        }),
        IdentityMessage::RecordApiKey(record) => user_of(state).and_then(|user| {
            if user.kind != UserKind::Service {
                return Err(IdentityRefusal::UserNotFound);
            }
            if user.api_key_ids.len() >= MAX_API_KEYS {
                return Err(IdentityRefusal::TooMany);
            }
            let (user_id, api_key_id) = (record.user_id.clone(), record.api_key_id.clone());
            Ok(vec![ApiKeyIssued { user_id, api_key_id }.into()])
        }),
        IdentityMessage::ApplyRoles(_) => user_of(state).map(|user| {
            if user.grants_by(roles) == user.grants { vec![] } else { Change::of(user.clone(), roles).rights(None) }
        }),
    };
    decided.unwrap_or_else(|reason| refused(message, reason))
}

/// Rounds up to a whole second: the times in access tokens are seconds.
fn whole_second(millis: i64) -> i64 {
    millis.div_euclid(1000).saturating_add(i64::from(millis.rem_euclid(1000) > 0)).saturating_mul(1000)
}

fn user_of(state: &Identity) -> Result<&User, IdentityRefusal> {
    match state {
        Identity::User(user) => Ok(user),
        Identity::Unknown | Identity::Organisation { .. } => Err(IdentityRefusal::UserNotFound),
    }
}

/// Returns the event of a refusal. A refused request of a query has none: its reply has the reason.
fn refused(message: &IdentityMessage, reason: IdentityRefusal) -> Vec<IdentityEvent> {
    use choreography::Publish as _;
    let IdentityMessage::Command(command) = message else { return vec![] };
    let Ok(id) = UserId::parse(command.key()) else { return vec![] };
    vec![IdentityCommandRefused { id, command: command.message_type().to_owned(), reason }.into()]
}

fn command_to(
    roles: &Roles,
    state: &Identity,
    command: &IdentityCommand,
    now: i64,
) -> Result<Vec<IdentityEvent>, IdentityRefusal> {
    let user = || user_of(state).map(|user| (user.clone(), user.user_id.clone()));
    let change = |user| Change::of(user, roles);
    let mut valid_from = None;
    let changed = match command {
        IdentityCommand::CreateServiceAccount(create) => return create_service_account(roles, state, create),
        IdentityCommand::CreateOrganisation(create) => return create_organisation(state, create),
        IdentityCommand::RevokeApiKey(revoke) => return Ok(revoke_api_key(user_of(state)?, revoke)),
        // The handler replaces the keys.
        IdentityCommand::RotateSigningKeys(_) => return Ok(vec![]),
        IdentityCommand::GrantRole(grant) => {
            let (user, user_id) = user()?;
            if user.roles.contains(&grant.role) {
                return Ok(vec![]);
            }
            check_roles(roles, std::slice::from_ref(&grant.role))?;
            within(user.roles.len() + 1, MAX_ROLES)?;
            change(user).event(RoleGranted { user_id, role: grant.role.clone() })
        }
        IdentityCommand::RevokeRole(revoke) => match user()? {
            (user, _) if !user.roles.contains(&revoke.role) => return Ok(vec![]),
            (user, user_id) => change(user).event(RoleRevoked { user_id, role: revoke.role.clone() }),
        },
        IdentityCommand::Disable(_) => match user()? {
            (user, _) if user.disabled => return Ok(vec![]),
            (user, user_id) => {
                valid_from = Some(whole_second(now));
                change(user).event(UserDisabled { user_id })
            }
        },
        IdentityCommand::Enable(_) => match user()? {
            (user, _) if !user.disabled => return Ok(vec![]),
            (user, user_id) => {
                // A token of a moment before the user was disabled may have been signed after it.
                valid_from = Some(whole_second(now));
                change(user).event(UserEnabled { user_id })
            }
        },
        IdentityCommand::SetCustomers(set) => {
            let (user, user_id) = user()?;
            let customer_ids = distinct(&set.customer_ids);
            within(customer_ids.len(), MAX_CUSTOMERS)?;
            if user.customer_ids == customer_ids {
                return Ok(vec![]);
            }
            change(user).event(CustomersSet { user_id, customer_ids })
        }
        IdentityCommand::AddMember(add) => {
            let (user, user_id) = user()?;
            if user.organisation_ids.contains(&add.organisation_id) {
                return Ok(vec![]);
            }
            within(user.organisation_ids.len() + 1, MAX_ORGANISATIONS)?;
            change(user).event(MemberAdded { user_id, organisation_id: add.organisation_id.clone() })
        }
        IdentityCommand::RemoveMember(remove) => match user()? {
            (user, _) if !user.organisation_ids.contains(&remove.organisation_id) => return Ok(vec![]),
            (user, user_id) => {
                change(user).event(MemberRemoved { user_id, organisation_id: remove.organisation_id.clone() })
            }
        },
    };
    Ok(changed.rights(valid_from))
}

fn check_roles(roles: &Roles, named: &[RoleName]) -> Result<(), IdentityRefusal> {
    let known = named.iter().all(|role| roles.contains_key(role));
    if known { Ok(()) } else { Err(IdentityRefusal::UnknownRole) }
}

fn within(count: usize, max: usize) -> Result<(), IdentityRefusal> {
    if count <= max { Ok(()) } else { Err(IdentityRefusal::TooMany) }
}

/// Returns the ids, each once, in their order.
fn distinct(ids: &[CustomerId]) -> Vec<CustomerId> {
    let mut distinct: Vec<CustomerId> = Vec::new();
    for id in ids {
        if !distinct.contains(id) {
            distinct.push(id.clone());
        }
    }
    distinct
}

/// Returns the events of a new user.
fn registered(
    roles: &Roles,
    (user_id, name, kind): (UserId, contracts::account::Line, UserKind),
    named: &[RoleName],
    customer_ids: &[CustomerId],
) -> Vec<IdentityEvent> {
    let user = User::new(user_id.clone(), name.clone(), kind);
    let mut change = Change::of(user, roles).event(UserRegistered { user_id: user_id.clone(), name, kind });
    for role in named {
        change = change.event(RoleGranted { user_id: user_id.clone(), role: role.clone() });
    }
    let customer_ids = distinct(customer_ids);
    if !customer_ids.is_empty() {
        change = change.event(CustomersSet { user_id, customer_ids });
    }
    change.rights(None)
}

fn create_service_account(
    roles: &Roles,
    state: &Identity,
    create: &CreateServiceAccount,
) -> Result<Vec<IdentityEvent>, IdentityRefusal> {
    match state {
        Identity::Unknown => {
            check_roles(roles, &create.roles)?;
            within(create.roles.len(), MAX_ROLES)?;
            let service = (create.user_id.clone(), create.name.clone(), UserKind::Service);
            Ok(registered(roles, service, &create.roles, &[]))
        }
        Identity::User(_) | Identity::Organisation { .. } => Err(IdentityRefusal::AlreadyExists),
    }
}

fn create_organisation(
    state: &Identity,
    create: &CreateOrganisation,
) -> Result<Vec<IdentityEvent>, IdentityRefusal> {
    match state {
        Identity::Unknown => {
            let (organisation_id, name) = (create.organisation_id.clone(), create.name.clone());
            Ok(vec![OrganisationCreated { organisation_id, name }.into()])
        }
        Identity::Organisation { name } if *name == create.name => Ok(vec![]),
        Identity::User(_) | Identity::Organisation { .. } => Err(IdentityRefusal::AlreadyExists),
    }
}

/// Returns the events of a revoked key: the session of its tokens ends.
fn revoke_api_key(user: &User, revoke: &RevokeApiKey) -> Vec<IdentityEvent> {
    let Ok(session_id) = SessionId::parse(revoke.api_key_id.as_str()) else { return vec![] };
    if !user.api_key_ids.contains(&revoke.api_key_id) {
        return vec![];
    }
    let (user_id, api_key_id) = (user.user_id.clone(), revoke.api_key_id.clone());
    let ended = SessionEnded { user_id: user_id.clone(), session_id, reason: SessionEndReason::ApiKeyRevoked };
    vec![ApiKeyRevoked { user_id, api_key_id }.into(), ended.into()]
}
