//! Permissions, grants, and the default roles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::RoleName;

/// The text does not name a permission, or not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission: one of {}, with `:own` after it for what belongs to the user", names())]
pub struct UnknownPermission;

fn names() -> String {
    Permission::ALL.map(Permission::as_str).join(", ")
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// What an operation needs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[$doc])* $name,)+
        }

        impl Permission {
            /// All permissions.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$name),+];

            /// Returns its name, such as `orders:read`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

permissions! {
    /// Place orders.
    OrdersPlace = "orders:place";
    /// Read orders, their timelines, histories, and payments; search them.
    OrdersRead = "orders:read";
    /// Cancel orders.
    OrdersCancel = "orders:cancel";
    /// Read accounts.
    AccountsRead = "accounts:read";
    /// Create, change, and delete accounts.
    AccountsWrite = "accounts:write";
    /// Read notifications.
    NotificationsRead = "notifications:read";
    /// Read products and their stock.
    ProductsRead = "products:read";
    /// Add units to the stock.
    ProductsRestock = "products:restock";
    /// Read reports.
    ReportsRead = "reports:read";
    /// Read the summaries of customers.
    CustomersRead = "customers:read";
    /// Read the results of the consistency checks.
    InvariantsRead = "invariants:read";
    /// Read the live feed of messages.
    FeedRead = "feed:read";
    /// Read dead letters, traces, and the status of the system.
    OperationsRead = "operations:read";
    /// Redrive and delete dead letters, pause consumers, rebuild projections.
    OperationsWrite = "operations:write";
    /// Read who did what.
    AuditRead = "audit:read";
    /// Read users, roles, and organisations.
    UsersRead = "users:read";
    /// Change users, roles, and organisations; issue API keys; rotate signing keys.
    UsersWrite = "users:write";
    /// Load the demo data.
    SeedWrite = "seed:write";
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;
    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text).ok_or(UnknownPermission)
    }
}

impl Permission {
    /// Returns whether the permission changes nothing.
    #[must_use]
    pub fn is_read(self) -> bool {
        self.as_str().ends_with(":read")
    }
}

/// How far a grant reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// What belongs to the customers of the user.
    Own,
    /// Everything.
    All,
}

/// A permission with its scope; as text `orders:read` for everything, `orders:read:own` for what belongs to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// The permission.
    pub permission: Permission,
    /// How far it reaches.
    pub scope: Scope,
}

impl Grant {
    /// Grants a permission for everything.
    #[must_use]
    pub const fn all(permission: Permission) -> Self {
        Self { permission, scope: Scope::All }
    }

    /// Grants a permission for what belongs to the user.
    #[must_use]
    pub const fn own(permission: Permission) -> Self {
        Self { permission, scope: Scope::Own }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.permission.as_str())?;
        if self.scope == Scope::Own { f.write_str(":own") } else { Ok(()) }
    }
}

impl FromStr for Grant {
    type Err = UnknownPermission;
    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        match text.strip_suffix(":own") {
            Some(permission) => permission.parse().map(Self::own),
            None => text.parse().map(Self::all),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = UnknownPermission;
    fn try_from(text: String) -> Result<Self, UnknownPermission> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// The grants of a user. One that this version does not know is ignored: an older gateway must not miss the event that
/// takes a known one away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

impl Extend<Grant> for Grants {
    fn extend<I: IntoIterator<Item = Grant>>(&mut self, grants: I) {
        self.0.extend(grants);
    }
}

impl Grants {
    /// Returns how far a permission reaches; `None` if it is not granted.
    #[must_use]
    pub fn scope(&self, permission: Permission) -> Option<Scope> {
        let granted = |grant| self.0.contains(&grant);
        match (granted(Grant::all(permission)), granted(Grant::own(permission))) {
            (true, _) => Some(Scope::All),
            (false, true) => Some(Scope::Own),
            (false, false) => None,
        }
    }

    /// Returns the grants, ordered.
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.0.iter().copied()
    }
}

/// The grants of each role.
pub type Roles = BTreeMap<RoleName, Grants>;

/// The role of a customer.
pub const CUSTOMER: &str = "customer";
/// The role of a clerk.
pub const CLERK: &str = "clerk";
/// The role of an operator.
pub const OPERATOR: &str = "operator";
/// The role of an auditor.
pub const AUDITOR: &str = "auditor";
/// The role of an administrator.
pub const ADMIN: &str = "admin";
/// The default roles.
pub const DEFAULT_ROLES: [&str; 5] = [CUSTOMER, CLERK, OPERATOR, AUDITOR, ADMIN];

/// Returns the default roles. A `ROLES` file of identity-service adds more, or replaces them.
#[must_use]
pub fn default_roles() -> Roles {
    let of = |name: &str| RoleName::parse(name).ok().zip(Some(grants_of(name)));
    DEFAULT_ROLES.into_iter().filter_map(of).collect()
}

fn grants_of(role: &str) -> Grants {
    use Permission as P;
    let all = |permissions: &[P]| permissions.iter().copied().map(Grant::all).collect::<Grants>();
    match role {
        CUSTOMER => {
            let own = [
                P::OrdersPlace,
                P::OrdersRead,
                P::OrdersCancel,
                P::AccountsRead,
                P::AccountsWrite,
                P::NotificationsRead,
            ];
            own.map(Grant::own).into_iter().chain([Grant::all(P::ProductsRead)]).collect()
        }
        CLERK => all(&[
            P::ProductsRead,
            P::ProductsRestock,
            P::OrdersRead,
            P::OrdersCancel,
            P::AccountsRead,
            P::NotificationsRead,
            P::CustomersRead,
        ]),
        OPERATOR => all(&[
            P::OrdersRead,
            P::OperationsRead,
            P::OperationsWrite,
            P::InvariantsRead,
            P::FeedRead,
            P::ProductsRead,
            P::ReportsRead,
        ]),
        AUDITOR => P::ALL.into_iter().filter(|permission| permission.is_read()).map(Grant::all).collect(),
        ADMIN => all(&P::ALL),
        _ => Grants::default(),
    }
}
