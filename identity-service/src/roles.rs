//! The roles: the default ones, and those of the file `ROLES`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use contracts::identity::{Grant, Grants, RoleName, Roles, default_roles};

/// The maximum number of roles.
const MAX: usize = 100;

/// Returns the default roles, with those of a file added or replaced.
///
/// # Errors
///
/// If the file cannot be read, is not a JSON object of lists of grants, or has a grant that does not exist.
pub fn load(file: Option<&Path>) -> anyhow::Result<Roles> {
    let mut roles = default_roles();
    let Some(file) = file else { return Ok(roles) };
    let at = || format!("reading the roles {} (ROLES)", file.display());
    let text = std::fs::read_to_string(file).with_context(at)?;
    roles.extend(parse(&text).with_context(at)?);
    if roles.len() > MAX {
        bail!("{} has too many roles: at most {MAX}, with the default ones", file.display());
    }
    Ok(roles)
}

/// Reads roles.
fn parse(text: &str) -> anyhow::Result<Roles> {
    let roles: BTreeMap<RoleName, Vec<String>> = serde_json::from_str(text)
        .context("it must be an object such as {\"support\": [\"orders:read\", \"accounts:read:own\"]}")?;
    let grants = |(role, grants): (RoleName, Vec<String>)| -> anyhow::Result<(RoleName, Grants)> {
        let grant = |text: &String| text.parse::<Grant>().with_context(|| format!("{text:?} of the role {role}"));
        let grants = grants.iter().map(grant).collect::<anyhow::Result<_>>()?;
        Ok((role, grants))
    };
    roles.into_iter().map(grants).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_role_of_the_file_replaces_the_default_role_of_that_name() {
        let roles = parse(r#"{"clerk": ["orders:read:own"], "support": []}"#).unwrap();
        assert_eq!(roles.len(), 2);
        assert_eq!(roles[&RoleName::parse("clerk").unwrap()].iter().count(), 1);
    }

    #[test]
    fn a_grant_that_does_not_exist_is_refused_with_the_known_ones() {
        let refused = format!("{:#}", parse(r#"{"support": ["orders:write"]}"#).unwrap_err());
        assert!(refused.contains("\"orders:write\" of the role support"), "{refused}");
        assert!(refused.contains("orders:cancel"), "{refused}");
    }
}
