//! The users of the shop's services in `nats.conf`, from their declarations.

use choreography::{Declaration, DeclarationError};
use contracts::declaration::{declarations, topology};

use crate::config::USERS;

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
