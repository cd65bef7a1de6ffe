//! Where everything of one store is: ports, files, users.

use std::path::PathBuf;

use local_servers::free_port;

use crate::member::Member;

/// The users of `nats.conf`, each with the variable that holds its password there.
pub const USERS: [(&str, &str); 5] = [
    ("provisioner", "PROVISIONER_PASSWORD"),
    ("api-gateway", "API_GATEWAY_PASSWORD"),
    ("order-service", "ORDER_SERVICE_PASSWORD"),
    ("inventory-service", "INVENTORY_SERVICE_PASSWORD"),
    ("inspector", "INSPECTOR_PASSWORD"),
];

/// The databases of the services.
#[derive(Debug, Clone)]
pub enum Databases {
    /// An SQLite file a service, in the data folder.
    Sqlite,
    /// A PostgreSQL database a service.
    Postgres {
        /// The order service's.
        order_service: String,
        /// The inventory service's.
        inventory_service: String,
    },
}

/// Where everything of one store is.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The program whose subcommands are the services.
    pub program: PathBuf,
    /// Where streams, databases, and logs are kept.
    pub data: PathBuf,
    /// The port of nats-server.
    pub nats_port: u16,
    /// The port of nats-server's monitor.
    pub monitor_port: u16,
    /// The port of the gateway.
    pub gateway_port: u16,
    /// The port of the inventory service.
    pub inventory_port: u16,
    /// The port of the order service.
    pub order_port: u16,
    /// Where the services keep their state.
    pub databases: Databases,
    /// Variables added to the environment of every service, such as `RUST_LOG`.
    pub variables: Vec<(String, String)>,
}

impl StoreConfig {
    /// The store on its well-known ports, with SQLite files in `data`.
    #[must_use]
    pub fn standard(program: PathBuf, data: PathBuf) -> Self {
        Self {
            program,
            data,
            nats_port: 4222,
            monitor_port: 8222,
            gateway_port: 8900,
            inventory_port: 8901,
            order_port: 8902,
            databases: Databases::Sqlite,
            variables: Vec::new(),
        }
    }

    /// A store on ports that are free, so that several can run at once.
    #[must_use]
    pub fn on_free_ports(program: PathBuf, data: PathBuf) -> Self {
        Self {
            nats_port: free_port(),
            monitor_port: free_port(),
            gateway_port: free_port(),
            inventory_port: free_port(),
            order_port: free_port(),
            ..Self::standard(program, data)
        }
    }

    /// Returns every port with who listens on it.
    #[must_use]
    pub fn ports(&self) -> [(u16, &'static str); 5] {
        [
            (self.nats_port, "nats-server"),
            (self.monitor_port, "nats-server's monitor"),
            (self.gateway_port, Member::ApiGateway.name()),
            (self.inventory_port, Member::InventoryService.name()),
            (self.order_port, Member::OrderService.name()),
        ]
    }

    /// Returns the URL of nats-server.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    /// Returns the URL under which a member serves HTTP: for nats-server, its monitor.
    #[must_use]
    pub fn http_url(&self, member: Member) -> String {
        let port = match member {
            Member::NatsServer => self.monitor_port,
            Member::OrderService => self.order_port,
            Member::InventoryService => self.inventory_port,
            Member::ApiGateway => self.gateway_port,
        };
        format!("http://127.0.0.1:{port}")
    }

    /// Returns the URL of a service's database; none for a member without one.
    #[must_use]
    pub fn database_url(&self, member: Member) -> Option<String> {
        match (member, &self.databases) {
            (Member::NatsServer | Member::ApiGateway, _) => None,
            (Member::OrderService, Databases::Postgres { order_service, .. }) => Some(order_service.clone()),
            (Member::InventoryService, Databases::Postgres { inventory_service, .. }) => {
                Some(inventory_service.clone())
            }
            (_, Databases::Sqlite) => {
                Some(format!("sqlite://{}/{}.sqlite?mode=rwc", self.data.display(), member.name()))
            }
        }
    }

    /// Returns a user's password: from the environment, else one for development, which is the user's name and
    /// `-dev`. Everything listens on this machine only.
    #[must_use]
    pub fn password(user: &str) -> String {
        USERS
            .iter()
            .find(|(name, _)| *name == user)
            .and_then(|(_, variable)| std::env::var(variable).ok())
            .unwrap_or_else(|| format!("{user}-dev"))
    }
}
