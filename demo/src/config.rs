//! The configuration of one shop: ports, files, users.

use std::collections::BTreeMap;
use std::path::PathBuf;

use choreography::setting;
use choreography_test::free_port;

use crate::component::Component;

/// The users of `nats.conf`, each with the variable of its password in there.
pub const USERS: [(&str, &str); 11] = [
    ("provisioner", "PROVISIONER_PASSWORD"),
    ("api-gateway", "API_GATEWAY_PASSWORD"),
    ("order-service", "ORDER_SERVICE_PASSWORD"),
    ("inventory-service", "INVENTORY_SERVICE_PASSWORD"),
    ("account-service", "ACCOUNT_SERVICE_PASSWORD"),
    ("payment-service", "PAYMENT_SERVICE_PASSWORD"),
    ("notification-service", "NOTIFICATION_SERVICE_PASSWORD"),
    ("projection-service", "PROJECTION_SERVICE_PASSWORD"),
    ("identity-service", "IDENTITY_SERVICE_PASSWORD"),
    ("inspector", "INSPECTOR_PASSWORD"),
    ("operator", "OPERATOR_PASSWORD"),
];

/// The databases of the services.
#[derive(Debug, Clone)]
pub enum Databases {
    /// One SQLite file per service, in the data folder.
    Sqlite,
    /// One PostgreSQL database per service, by URL.
    Postgres(BTreeMap<Component, String>),
}

/// The secrets of the users of nats-server.
#[derive(Debug, Clone)]
pub enum Secrets {
    /// Passwords, in the environment of each component.
    Passwords,
    /// Passwords in the files `<user>.password` of a folder.
    PasswordFiles(PathBuf),
    /// NKeys, whose seeds are in the files `<user>.nk` of a folder.
    Nkeys(PathBuf),
}

/// The ports of a nats-server.
#[derive(Debug, Clone, Copy)]
pub struct ServerPorts {
    /// The port for clients.
    pub clients: u16,
    /// The port of the monitor.
    pub monitor: u16,
    /// The port for the other servers of the cluster.
    pub routes: u16,
}

/// A cluster of nats-servers that replicates the streams.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// All servers; the first is the component `nats-server`.
    pub servers: Vec<ServerPorts>,
    /// The proxy ports through which one server reaches another, by `(from, to)`; without an entry, directly.
    pub detours: BTreeMap<(usize, usize), u16>,
}

/// The configuration of one shop.
#[derive(Debug, Clone)]
pub struct ShopConfig {
    /// The program whose subcommands are the services.
    pub program: PathBuf,
    /// The folder of streams, databases, and logs.
    pub data: PathBuf,
    /// The client port of nats-server.
    pub nats_port: u16,
    /// The cluster of nats-server; `None` for a single server.
    pub cluster: Option<Cluster>,
    /// The HTTP port of each component; of nats-server, its monitor port.
    pub ports: BTreeMap<Component, u16>,
    /// The port of the control API.
    pub control_port: u16,
    /// The databases of the services.
    pub databases: Databases,
    /// The secrets of the users of nats-server.
    pub secrets: Secrets,
    /// Whether users must sign in: then identity-service runs, too.
    pub auth: bool,
    /// How long an order may wait for stock, in seconds.
    pub stock_deadline_seconds: u64,
    /// Variables added to the environment of every service, such as `RUST_LOG`.
    pub variables: Vec<(String, String)>,
    /// Variables added to the environment of one component alone; they override all others.
    pub own_variables: BTreeMap<Component, Vec<(String, String)>>,
}

impl ShopConfig {
    /// Returns the configuration with the well-known ports, and SQLite files in `data`.
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
            secrets: Secrets::Passwords,
            auth: false,
            stock_deadline_seconds: 20,
            variables: Vec::new(),
            own_variables: BTreeMap::new(),
        }
    }

    /// Returns a configuration with free ports, so that several shops can run at once.
    #[must_use]
    pub fn on_free_ports(program: PathBuf, data: PathBuf) -> Self {
        Self {
            nats_port: free_port(),
            ports: Component::ALL.into_iter().map(|component| (component, free_port())).collect(),
            control_port: free_port(),
            ..Self::standard(program, data)
        }
    }

    /// Returns this configuration with a cluster of `servers` nats-servers, and as many replicas of each stream.
    #[must_use]
    pub fn clustered(self, servers: usize) -> Self {
        let first = ServerPorts { clients: self.nats_port, monitor: self.monitor_port(), routes: free_port() };
        let other = |_| ServerPorts { clients: free_port(), monitor: free_port(), routes: free_port() };
        let servers = [first].into_iter().chain((1..servers).map(other)).collect();
        Self { cluster: Some(Cluster { servers, detours: BTreeMap::new() }), ..self }
    }

    /// Returns this configuration with sign-in, and the demo's users; `port` is that of identity-service.
    #[must_use]
    pub fn with_sign_in(mut self, port: u16) -> Self {
        self.auth = true;
        self.ports.insert(Component::IdentityService, port);
        self
    }

    /// Returns the components of this shop, in start order.
    #[must_use]
    pub fn components(&self) -> Vec<Component> {
        Component::NAMED
            .into_iter()
            .filter(|component| self.auth || *component != Component::IdentityService)
            .collect()
    }

    /// Returns the components of this shop except the broker.
    #[must_use]
    pub fn services(&self) -> Vec<Component> {
        self.components().into_iter().filter(|component| *component != Component::NatsServer).collect()
    }

    fn monitor_port(&self) -> u16 {
        self.http_port(Component::NatsServer)
    }

    /// Returns the number of replicas of each stream.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.cluster.as_ref().map_or(1, |cluster| cluster.servers.len())
    }

    /// Returns every port with the name of its listener.
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

    /// Returns the HTTP port of a component: for nats-server, its monitor port.
    #[must_use]
    pub fn http_port(&self, component: Component) -> u16 {
        self.ports.get(&component).copied().unwrap_or_else(|| component.port())
    }

    /// Returns the HTTP URL of a component: for nats-server, of its monitor.
    #[must_use]
    pub fn http_url(&self, component: Component) -> String {
        format!("http://127.0.0.1:{}", self.http_port(component))
    }

    /// Returns the origins of the dashboard, one per name of this machine.
    #[must_use]
    pub fn dashboard_origins(&self) -> [String; 2] {
        let port = self.http_port(Component::ApiGateway);
        ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}"))
    }

    /// Returns the URL of a service's database; `None` for a component without one.
    #[must_use]
    pub fn database_url(&self, component: Component) -> Option<String> {
        match &self.databases {
            Databases::Postgres(urls) => urls.get(&component).cloned(),
            Databases::Sqlite => component
                .has_database()
                .then(|| setting::sqlite_url(&self.data.join(format!("{component}.sqlite")))),
        }
    }

    /// Returns a user's password: from the environment, or else the development password `<user>-dev`. All ports
    /// listen on 127.0.0.1 only.
    #[must_use]
    pub fn password(user: &str) -> String {
        USERS
            .iter()
            .find(|(name, _)| *name == user)
            .and_then(|(_, variable)| std::env::var(variable).ok())
            .unwrap_or_else(|| format!("{user}-dev"))
    }
}
