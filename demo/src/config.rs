//! Where everything of one store is: ports, files, users.

use std::collections::BTreeMap;
use std::path::PathBuf;

use local_servers::free_port;
use messaging::setting;

use crate::component::Component;

/// The users of `nats.conf`, each with the variable that holds its password there.
pub const USERS: [(&str, &str); 9] = [
    ("provisioner", "PROVISIONER_PASSWORD"),
    ("api-gateway", "API_GATEWAY_PASSWORD"),
    ("order-service", "ORDER_SERVICE_PASSWORD"),
    ("inventory-service", "INVENTORY_SERVICE_PASSWORD"),
    ("account-service", "ACCOUNT_SERVICE_PASSWORD"),
    ("payment-service", "PAYMENT_SERVICE_PASSWORD"),
    ("notification-service", "NOTIFICATION_SERVICE_PASSWORD"),
    ("inspector", "INSPECTOR_PASSWORD"),
    ("operator", "OPERATOR_PASSWORD"),
];

/// The databases of the services.
#[derive(Debug, Clone)]
pub enum Databases {
    /// An SQLite file a service, in the data folder.
    Sqlite,
    /// A PostgreSQL database a service, by URL.
    Postgres(BTreeMap<Component, String>),
}

/// The ports of a nats-server.
#[derive(Debug, Clone, Copy)]
pub struct ServerPorts {
    /// For clients.
    pub clients: u16,
    /// Of its monitor.
    pub monitor: u16,
    /// For the other servers.
    pub routes: u16,
}

/// Nats-servers that keep the streams together.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// All of them; the first is the component `nats-server`.
    pub servers: Vec<ServerPorts>,
    /// The ports through which one server reaches another, `(from, to)`, where not by the one that listens there.
    pub detours: BTreeMap<(usize, usize), u16>,
}

/// Where everything of one store is.
#[derive(Debug, Clone)]
pub struct ShopConfig {
    /// The program whose subcommands are the services.
    pub program: PathBuf,
    /// Where streams, databases, and logs are kept.
    pub data: PathBuf,
    /// The port of nats-server.
    pub nats_port: u16,
    /// The cluster that nats-server belongs to; without one it is alone.
    pub cluster: Option<Cluster>,
    /// The port on which each component serves HTTP; of nats-server, its monitor's.
    pub ports: BTreeMap<Component, u16>,
    /// The port on which a demo hears what shall be broken.
    pub control_port: u16,
    /// Where the services keep their state.
    pub databases: Databases,
    /// How long an order may wait for stock.
    pub stock_deadline_seconds: u64,
    /// Variables added to the environment of every service, such as `RUST_LOG`.
    pub variables: Vec<(String, String)>,
    /// Variables added to the environment of one component alone; they replace what it is told otherwise.
    pub own_variables: BTreeMap<Component, Vec<(String, String)>>,
}

impl ShopConfig {
    /// The shop on its well-known ports, with SQLite files in `data`.
    #[must_use]
    pub fn standard(program: PathBuf, data: PathBuf) -> Self {
        Self {
            program,
            data,
            nats_port: 4222,
            cluster: None,
            ports: Component::ALL.into_iter().map(|component| (component, component.port())).collect(),
            control_port: 8911,
            databases: Databases::Sqlite,
            stock_deadline_seconds: 20,
            variables: Vec::new(),
            own_variables: BTreeMap::new(),
        }
    }

    /// A shop on ports that are free, so that several can run at once.
    #[must_use]
    pub fn on_free_ports(program: PathBuf, data: PathBuf) -> Self {
        Self {
            nats_port: free_port(),
            ports: Component::ALL.into_iter().map(|component| (component, free_port())).collect(),
            control_port: free_port(),
            ..Self::standard(program, data)
        }
    }

    /// The same with a cluster of so many nats-servers, each stream on all of them.
    #[must_use]
    pub fn clustered(self, servers: usize) -> Self {
        let first = ServerPorts { clients: self.nats_port, monitor: self.monitor_port(), routes: free_port() };
        let other = |_| ServerPorts { clients: free_port(), monitor: free_port(), routes: free_port() };
        let servers = [first].into_iter().chain((1..servers).map(other)).collect();
        Self { cluster: Some(Cluster { servers, detours: BTreeMap::new() }), ..self }
    }

    fn monitor_port(&self) -> u16 {
        self.http_port(Component::NatsServer)
    }

    /// Returns on how many servers each stream is kept.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.cluster.as_ref().map_or(1, |cluster| cluster.servers.len())
    }

    /// Returns every port with who listens on it.
    #[must_use]
    pub fn purposes(&self) -> Vec<(u16, &'static str)> {
        let http = self.ports.iter().map(|(component, port)| match component {
            Component::NatsServer => (*port, "nats-server's monitor"),
            service => (*port, service.name()),
        });
        let own = [(self.nats_port, Component::NatsServer.name()), (self.control_port, "the demo itself")];
        own.into_iter().chain(http).collect()
    }

    /// Returns the URL of nats-server; of a cluster, those of all servers, separated by commas.
    #[must_use]
    pub fn nats_url(&self) -> String {
        let url = |port: u16| format!("nats://127.0.0.1:{port}");
        match &self.cluster {
            None => url(self.nats_port),
            Some(cluster) => cluster.servers.iter().map(|server| url(server.clients)).collect::<Vec<_>>().join(","),
        }
    }

    /// Returns the URL of nats-server's monitor; of a cluster, those of all servers, separated by commas.
    #[must_use]
    pub fn monitor_urls(&self) -> String {
        match &self.cluster {
            None => self.http_url(Component::NatsServer),
            Some(cluster) => {
                let urls = cluster.servers.iter().map(|server| format!("http://127.0.0.1:{}", server.monitor));
                urls.collect::<Vec<_>>().join(",")
            }
        }
    }

    /// Returns the port on which a component serves HTTP: for nats-server, its monitor's.
    #[must_use]
    pub fn http_port(&self, component: Component) -> u16 {
        self.ports.get(&component).copied().unwrap_or_else(|| component.port())
    }

    /// Returns the URL under which a component serves HTTP: for nats-server, its monitor.
    #[must_use]
    pub fn http_url(&self, component: Component) -> String {
        format!("http://127.0.0.1:{}", self.http_port(component))
    }

    /// Returns the origins of the gateway's page, by each name of this machine.
    #[must_use]
    pub fn page_origins(&self) -> [String; 2] {
        let port = self.http_port(Component::ApiGateway);
        ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}"))
    }

    /// Returns the URL of a service's database; none for a component without one.
    #[must_use]
    pub fn database_url(&self, component: Component) -> Option<String> {
        match &self.databases {
            Databases::Postgres(urls) => urls.get(&component).cloned(),
            Databases::Sqlite => Component::WITH_DATABASE
                .contains(&component)
                .then(|| setting::sqlite_url(&self.data.join(format!("{component}.sqlite")))),
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
