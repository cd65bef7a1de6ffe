//! The processes of the store.

use std::fmt;
use std::str::FromStr;

/// One process of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The broker.
    NatsServer,
    /// Keeps orders.
    OrderService,
    /// Keeps stock.
    InventoryService,
    /// REST in, commands out.
    ApiGateway,
}

impl Member {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 4] = [Self::NatsServer, Self::OrderService, Self::InventoryService, Self::ApiGateway];

    /// All but the broker.
    pub const SERVICES: [Self; 3] = [Self::OrderService, Self::InventoryService, Self::ApiGateway];

    /// Returns its name: of the process, of its user, and of its subcommand.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NatsServer => "nats-server",
            Self::OrderService => contracts::topology::ORDER_SERVICE,
            Self::InventoryService => contracts::topology::INVENTORY_SERVICE,
            Self::ApiGateway => contracts::topology::API_GATEWAY,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|member| member.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|member| member.name()).collect();
            format!("there is no {text:?}; it is one of {}", names.join(", "))
        })
    }
}
