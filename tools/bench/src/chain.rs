//! The parts of the shop under measurement, its databases, and the syncing of its broker.

use demo::Component;

/// The part of the choreography that orders go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// Until the stock is reserved; the services of accounts, payments, and notifications are stopped.
    Short,
    /// Until the order is confirmed; notification-service notifies the customer.
    Whole,
}

impl Chain {
    /// Returns the services that handle messages of orders.
    #[must_use]
    pub fn services(self) -> &'static [Component] {
        match self {
            Self::Short => &[Component::OrderService, Component::InventoryService],
            Self::Whole => &[
                Component::OrderService,
                Component::InventoryService,
                Component::PaymentService,
                Component::NotificationService,
            ],
        }
    }

    /// Returns the running components: the services, and others that they need. Read models are no part of an order.
    #[must_use]
    pub fn components(self) -> Vec<Component> {
        let off = [
            Component::AccountService,
            Component::PaymentProvider,
            Component::PaymentService,
            Component::NotificationService,
        ];
        let runs = |component: &Component| {
            *component != Component::ProjectionService && (self == Self::Whole || !off.contains(component))
        };
        Component::SERVICES.into_iter().filter(runs).collect()
    }

    /// Returns the subject of the last event of each order.
    #[must_use]
    pub fn last_event(self) -> &'static str {
        match self {
            Self::Short => "order.event.reserved.*",
            Self::Whole => "order.event.confirmed.*",
        }
    }

    /// Returns the status of a completed order in the order service.
    #[must_use]
    pub fn last_status(self) -> &'static str {
        match self {
            Self::Short => "reserved",
            Self::Whole => "confirmed",
        }
    }
}

/// The database of each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// One SQLite file per service.
    Sqlite,
    /// One PostgreSQL database per service, all on one server that syncs every commit.
    Postgres,
}

/// When the broker syncs its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncMode {
    /// At the interval of the shipped configuration.
    Default,
    /// Before every acknowledgement.
    Always,
}
