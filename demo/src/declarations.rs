//! The declarations of the shop's services, and their users in `nats.conf`.

use choreography::{Declaration, DeclarationError};
use contracts::topology::topology;

use crate::config::USERS;

/// Returns the declarations of all services.
#[must_use]
pub fn declarations() -> [Declaration; 5] {
    [
        order_service::declaration(),
        inventory_service::declaration(),
        account_service::declaration(),
        payment_service::declaration(),
        notification_service::declaration(),
    ]
}

/// Returns the users of the services with their permissions, as blocks of `nats.conf`.
///
/// # Errors
///
/// If a declaration does not match the topology.
pub fn users() -> anyhow::Result<String> {
    let topology = topology()?;
    let user = |declaration: &Declaration| {
        let service = declaration.service();
        let password = USERS.iter().find(|(user, _)| *user == service).map_or("", |(_, variable)| variable);
        let permissions = declaration.permissions(&topology)?.to_string().replace('\n', "\n  ");
        Ok::<_, DeclarationError>(format!("{{\n  user: {service}, password: ${password}\n  {permissions}\n}}"))
    };
    let users = declarations().iter().map(user).collect::<Result<Vec<_>, _>>()?;
    Ok(users.join("\n"))
}
