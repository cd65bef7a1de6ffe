//! The worker: signing keys, configured users, and changed roles at the start; then the removal of old sessions.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use choreography::envelope::unix_millis;
use choreography::query::QueryError;
use choreography::{Outbox, Outgoing, clock};
use contracts::CustomerId;
use contracts::account::{Email, Line};
use contracts::identity::{
    DEFAULT_ROLES, IdentityEvent, MAX_CUSTOMERS, MAX_ROLES, RoleName, Roles, Secret, UserId,
};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::entity::{credential, rights};
use crate::requests::{NewUser, Requests};
use crate::user::ApplyRoles;
use crate::{keys, local, sessions};

/// The interval between two attempts to start.
const RETRY: Duration = Duration::from_secs(1);
/// The interval between two removals of old sessions.
const PRUNE: Duration = Duration::from_secs(60);
/// The number of sessions per removal.
const PRUNED: u64 = 1000;
/// How long an ended session is kept: a used refresh token is recognised meanwhile.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// The number of users per transaction.
const BATCH: u64 = 100;

/// A user that is created at the start unless the e-mail address exists.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfiguredUser {
    /// The id.
    pub user_id: UserId,
    /// The e-mail address.
    pub email: Email,
    /// The first password.
    pub password: Secret,
    /// The displayed name.
    pub name: Line,
    /// The roles.
    pub roles: Vec<RoleName>,
    /// The customers that the user acts for.
    #[serde(default)]
    pub customer_ids: Vec<CustomerId>,
}

/// A user of the demo: `(user id, e-mail address, password, name)`; the id is the role.
#[derive(Debug, Clone, Copy)]
pub struct DemoUser {
    /// The id, and the role.
    pub role: &'static str,
    /// The e-mail address.
    pub email: &'static str,
    /// The password.
    pub password: &'static str,
    /// The displayed name.
    pub name: &'static str,
    /// The customers that the user acts for.
    pub customers: &'static [&'static str],
}

/// The users of the demo, with well-known passwords.
pub const DEMO_USERS: [DemoUser; DEFAULT_ROLES.len()] = [
    DemoUser {
        role: "customer",
        email: "customer@example.org",
        password: "customer-dev-password",
        name: "Carla Customer",
        customers: &["CUSTOMER_001"],
    },
    DemoUser {
        role: "clerk",
        email: "clerk@example.org",
        password: "clerk-dev-password",
        name: "Clark Clerk",
        customers: &[],
    },
    DemoUser {
        role: "operator",
        email: "operator@example.org",
        password: "operator-dev-password",
        name: "Olga Operator",
        customers: &[],
    },
    DemoUser {
        role: "auditor",
        email: "auditor@example.org",
        password: "auditor-dev-password",
        name: "Audrey Auditor",
        customers: &[],
    },
    DemoUser {
        role: "admin",
        email: "admin@example.org",
        password: "admin-dev-password",
        name: "Ada Admin",
        customers: &[],
    },
];

/// Returns the users that are created at the start.
///
/// # Errors
///
/// If the file cannot be read, or a user in it is invalid.
pub fn configured(file: Option<&Path>, demo: bool, roles: &Roles) -> anyhow::Result<Vec<ConfiguredUser>> {
    let mut users = Vec::new();
    if let Some(file) = file {
        let at = || format!("reading the users {} (USERS_FILE)", file.display());
        let text = std::fs::read_to_string(file).with_context(at)?;
        // The error of the parser could repeat a password.
        let parsed: Vec<ConfiguredUser> = serde_json::from_str(&text)
            .map_err(|error| anyhow::anyhow!("not a valid list of users, at line {}", error.line()))
            .with_context(at)?;
        parsed.iter().try_for_each(|user| check(user, roles)).with_context(at)?;
        users.extend(parsed);
    }
    if demo {
        users.extend(DEMO_USERS.iter().map(demo_user).collect::<anyhow::Result<Vec<_>>>()?);
    }
    Ok(users)
}

fn demo_user(demo: &DemoUser) -> anyhow::Result<ConfiguredUser> {
    Ok(ConfiguredUser {
        user_id: UserId::parse(demo.role)?,
        email: Email::parse(demo.email)?,
        password: Secret::parse(demo.password)?,
        name: Line::parse(demo.name)?,
        roles: vec![RoleName::parse(demo.role)?],
        customer_ids: demo.customers.iter().map(|id| CustomerId::parse(*id)).collect::<Result<_, _>>()?,
    })
}

fn check(user: &ConfiguredUser, roles: &Roles) -> anyhow::Result<()> {
    let id = &user.user_id;
    Secret::new_password(user.password.expose()).with_context(|| format!("the password of {id}"))?;
    if let Some(role) = user.roles.iter().find(|role| !roles.contains_key(role)) {
        bail!("{id} has the role {role}, which does not exist: add it to the file ROLES");
    }
    if user.roles.len() > MAX_ROLES || user.customer_ids.len() > MAX_CUSTOMERS {
        bail!("{id} has more than {MAX_ROLES} roles or {MAX_CUSTOMERS} customers");
    }
    Ok(())
}

/// Runs until `stop` is cancelled.
///
/// # Errors
///
/// None; the log and readiness have those of the database.
pub async fn run(
    requests: Requests,
    users: Vec<ConfiguredUser>,
    outbox: Outbox,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let watch = outbox.watch("identity");
    let health = outbox.health("start");
    // Until then, nobody in the configuration can sign in.
    health.expect("users");
    drop(requests.outbox.set(outbox));
    let mut started = false;
    loop {
        let pause = if started { PRUNE } else { RETRY };
        if started {
            let before = unix_millis(clock::now()) - i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
            // Readiness and the log have the error; the next removal repeats it.
            drop(watch.answered(sessions::prune(&requests.db.writer, before, PRUNED)).await);
        } else {
            match prepare(&requests, &users).await {
                Ok(()) => {
                    started = true;
                    health.ok("users");
                }
                Err(error) => {
                    health.failed("users", format!("the signing keys or users cannot be prepared: {error}"));
                }
            }
            if started {
                continue;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn prepare(requests: &Requests, users: &[ConfiguredUser]) -> Result<(), QueryError> {
    ensure_key(requests).await?;
    for user in users {
        create(requests, user).await?;
    }
    apply_roles(requests).await
}

/// Makes the first signing key.
async fn ensure_key(requests: &Requests) -> Result<(), QueryError> {
    let tx = requests.begin().await?;
    let now = unix_millis(clock::now());
    if !keys::current(&tx, now).await?.keys.is_empty() {
        return Ok(());
    }
    let keys = keys::rotate(&tx, now).await.map_err(QueryError::Unavailable)?;
    let version = keys.version;
    let event = Outgoing::of(local::cause(local::system()), &IdentityEvent::from(keys), Some(version));
    requests.commit(tx, vec![event.map_err(|error| QueryError::Unavailable(error.into()))?]).await
}

/// Creates a user unless the id or the e-mail address exists.
async fn create(requests: &Requests, user: &ConfiguredUser) -> Result<(), QueryError> {
    let email = user.email.as_str().to_lowercase();
    let exists = credential::Column::UserId.eq(user.user_id.as_str()).or(credential::Column::Email.eq(email));
    if credential::Entity::find().filter(exists).one(&requests.db.reader).await?.is_some() {
        return Ok(());
    }
    let hash = requests.hasher.hash(user.password.clone()).await.map_err(QueryError::Unavailable)?;
    let new = NewUser {
        user_id: user.user_id.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
        roles: user.roles.clone(),
        customer_ids: user.customer_ids.clone(),
    };
    let tx = requests.begin().await?;
    let outgoing = requests.register(&tx, &new, hash, unix_millis(clock::now())).await?;
    requests.commit(tx, outgoing).await?;
    tracing::info!(user = %new.user_id, "a configured user was created");
    Ok(())
}

/// Publishes the rights of all users whose roles have other grants than before.
async fn apply_roles(requests: &Requests) -> Result<(), QueryError> {
    let mut after = String::new();
    loop {
        let ids: Vec<String> = rights::Entity::find()
            .select_only()
            .column(rights::Column::UserId)
            .filter(rights::Column::UserId.gt(after.as_str()))
            .order_by_asc(rights::Column::UserId)
            .limit(BATCH)
            .into_tuple()
            .all(&requests.db.reader)
            .await?;
        let Some(last) = ids.last().cloned() else { return Ok(()) };
        let tx = requests.begin().await?;
        let mut outgoing = Vec::new();
        for id in ids {
            let user_id = UserId::parse(id).map_err(|error| QueryError::Unavailable(error.into()))?;
            outgoing.extend(requests.decide(&tx, ApplyRoles { user_id }).await?);
        }
        requests.commit(tx, outgoing).await?;
        after = last;
    }
}
