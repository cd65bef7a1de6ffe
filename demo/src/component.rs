//! The processes of the shop.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One process of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Component {
    /// The broker.
    NatsServer,
    /// The stub of the payment provider.
    PaymentProvider,
    /// Orders.
    OrderService,
    /// Stock and reservations.
    InventoryService,
    /// Customer accounts.
    AccountService,
    /// Payments.
    PaymentService,
    /// Notifies customers about their orders.
    NotificationService,
    /// Read models across orders.
    ProjectionService,
    /// Users, roles, and sessions; runs only with sign-in.
    IdentityService,
    /// REST in, commands out.
    ApiGateway,
}

impl Component {
    /// All components of a shop without sign-in, in start order. [`ShopConfig::components`](crate::ShopConfig::components)
    /// returns those of one shop.
    pub const ALL: [Self; 9] = [
        Self::NatsServer,
        Self::PaymentProvider,
        Self::OrderService,
        Self::InventoryService,
        Self::AccountService,
        Self::PaymentService,
        Self::NotificationService,
        Self::ProjectionService,
        Self::ApiGateway,
    ];

    /// The components that may be named: also [`Self::IdentityService`].
    pub const NAMED: [Self; 10] = {
        let [broker, provider, orders, stock, accounts, payments, notifications, projections, gateway] = Self::ALL;
        let identity = Self::IdentityService;
        [broker, provider, orders, stock, accounts, payments, notifications, projections, identity, gateway]
    };

    /// All components of a shop without sign-in, except the broker.
    pub const SERVICES: [Self; 8] = [
        Self::PaymentProvider,
        Self::OrderService,
        Self::InventoryService,
        Self::AccountService,
        Self::PaymentService,
        Self::NotificationService,
        Self::ProjectionService,
        Self::ApiGateway,
    ];

    /// The components with a database, of a shop without sign-in.
    pub const WITH_DATABASE: [Self; 6] = [
        Self::OrderService,
        Self::InventoryService,
        Self::AccountService,
        Self::PaymentService,
        Self::NotificationService,
        Self::ProjectionService,
    ];

    /// Returns whether the component has a database.
    #[must_use]
    pub fn has_database(self) -> bool {
        Self::WITH_DATABASE.contains(&self) || self == Self::IdentityService
    }

    /// Returns whether the component is a client of the broker.
    #[must_use]
    pub fn uses_broker(self) -> bool {
        !matches!(self, Self::NatsServer | Self::PaymentProvider)
    }

    /// Returns the well-known port on which the component serves HTTP; for nats-server, its monitor port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::NatsServer => 8222,
            Self::ApiGateway => 8900,
            Self::InventoryService => 8901,
            Self::OrderService => 8902,
            Self::NotificationService => 8903,
            Self::AccountService => 8904,
            Self::PaymentService => 8905,
            Self::IdentityService => 8906,
            Self::ProjectionService => 8907,
            Self::PaymentProvider => 8910,
        }
    }

    /// Returns the name of the component: also of its process, its NATS user, and its subcommand.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NatsServer => "nats-server",
            Self::OrderService => contracts::topology::ORDER_SERVICE,
            Self::InventoryService => contracts::topology::INVENTORY_SERVICE,
            Self::AccountService => contracts::topology::ACCOUNT_SERVICE,
            Self::PaymentService => contracts::topology::PAYMENT_SERVICE,
            Self::NotificationService => contracts::topology::NOTIFICATION_SERVICE,
            Self::ProjectionService => contracts::topology::PROJECTION_SERVICE,
            Self::IdentityService => contracts::topology::IDENTITY_SERVICE,
            Self::PaymentProvider => "payment-provider",
            Self::ApiGateway => contracts::topology::API_GATEWAY,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::NAMED.into_iter().find(|component| component.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::NAMED.iter().map(|component| component.name()).collect();
            format!("{text:?} is not a component; use one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for Component {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Component> for String {
    fn from(component: Component) -> Self {
        component.name().to_owned()
    }
}
