//! The users of the shop's services in `nats.conf`, from their declarations.

use choreography::DeclarationError;
use contracts::declaration::{full_declarations, full_topology};

/// Returns the users of the services with their permissions, as blocks of `nats.conf`.
///
/// # Errors
///
/// If a declaration does not match the topology.
pub fn users() -> Result<String, DeclarationError> {
    let topology = full_topology()?;
    let users = full_declarations().into_iter().map(|service| Ok(service.user(&topology)?.to_string()));
    Ok(users.collect::<Result<Vec<_>, DeclarationError>>()?.join("\n"))
}
