//! The proxies between services and nats-servers, and between the servers of a cluster.

use std::collections::BTreeMap;

use crate::component::Component;
use crate::config::ShopConfig;
use crate::proxy::{LinkPolicy, Proxy};

/// One proxy per service and server, and one per pair of servers.
#[derive(Debug)]
pub struct Network {
    /// The proxies of services, by service and server.
    services: BTreeMap<(Component, usize), Proxy>,
    /// The proxies of servers, by `(from, to)`.
    routes: BTreeMap<(usize, usize), Proxy>,
    /// The link policy between a service and all servers.
    policies: BTreeMap<Component, LinkPolicy>,
    /// The server that is isolated from all services and servers.
    cut_off: Option<usize>,
}

impl Network {
    /// Starts the proxies of a shop, and configures its services and servers to use them. To be called before the shop
    /// starts.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn install_proxies(config: &mut ShopConfig) -> anyhow::Result<Self> {
        let mut services = BTreeMap::new();
        let mut routes = BTreeMap::new();
        let ports: Vec<(u16, u16)> = match &config.cluster {
            None => vec![(config.nats_port, 0)],
            Some(cluster) => cluster.servers.iter().map(|server| (server.clients, server.routes)).collect(),
        };
        for (number, (clients, _)) in ports.iter().enumerate() {
            for component in config.services().into_iter().filter(|component| component.uses_broker()) {
                services.insert((component, number), Proxy::start(*clients).await?);
            }
        }
        for from in 0..ports.len() {
            for (to, (_, port)) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
                routes.insert((from, to), Proxy::start(*port).await?);
            }
        }
        if let Some(cluster) = &mut config.cluster {
            cluster.detours = routes.iter().map(|(way, proxy)| (*way, proxy.port())).collect();
        }
        let network = Self { services, routes, policies: BTreeMap::new(), cut_off: None };
        for component in config.services() {
            config.own_variables.insert(component, network.variables(component));
        }
        Ok(network)
    }

    /// Returns the environment variables with which a service connects through its proxies.
    #[must_use]
    pub fn variables(&self, component: Component) -> Vec<(String, String)> {
        let proxies = self.services.iter().filter(|((of, _), _)| *of == component);
        let urls: Vec<String> = proxies.map(|(_, proxy)| format!("nats://127.0.0.1:{}", proxy.port())).collect();
        if urls.is_empty() { Vec::new() } else { vec![("NATS_URL".to_owned(), urls.join(","))] }
    }

    /// Sets the link policy between a service and all servers.
    pub fn pass(&mut self, component: Component, policy: LinkPolicy) {
        self.policies.insert(component, policy);
        self.apply();
    }

    /// Isolates a server from the network; `None` reconnects all.
    pub fn cut_off(&mut self, server: Option<usize>) {
        self.cut_off = server;
        self.apply();
    }

    /// Clears all faults: every link is open.
    pub fn clear_faults(&mut self) {
        self.policies.clear();
        self.cut_off(None);
    }

    fn apply(&self) {
        for ((component, server), proxy) in &self.services {
            let policy = self.policies.get(component).copied().unwrap_or(LinkPolicy::Open);
            proxy.set(if self.cut_off == Some(*server) { LinkPolicy::Closed } else { policy });
        }
        for ((from, to), proxy) in &self.routes {
            let is_cut = self.cut_off.is_some_and(|server| server == *from || server == *to);
            proxy.set(if is_cut { LinkPolicy::Closed } else { LinkPolicy::Open });
        }
    }
}
