//! What is between services and nats-servers, and between those.

use std::collections::BTreeMap;

use crate::config::StoreConfig;
use crate::member::Member;
use crate::proxy::{Passage, Proxy};

/// A proxy from each service to each server, and from each server to each other one.
#[derive(Debug)]
pub struct Network {
    /// By service and server.
    services: BTreeMap<(Member, usize), Proxy>,
    /// By servers, `(from, to)`.
    routes: BTreeMap<(usize, usize), Proxy>,
    /// What passes between a service and all servers.
    passages: BTreeMap<Member, Passage>,
    /// The server that nobody reaches and that reaches nobody.
    cut_off: Option<usize>,
}

impl Network {
    /// Makes the proxies of a store that is about to start, and tells its services and servers of them.
    ///
    /// # Errors
    ///
    /// Where there is no port to be had.
    pub async fn weave(config: &mut StoreConfig) -> anyhow::Result<Self> {
        let mut services = BTreeMap::new();
        let mut routes = BTreeMap::new();
        let ports: Vec<(u16, u16)> = match &config.cluster {
            None => vec![(config.nats_port, 0)],
            Some(cluster) => cluster.servers.iter().map(|server| (server.clients, server.routes)).collect(),
        };
        for (number, (clients, _)) in ports.iter().enumerate() {
            for member in Member::SERVICES.into_iter().filter(|member| member.uses_broker()) {
                services.insert((member, number), Proxy::start(*clients).await?);
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
        let network = Self { services, routes, passages: BTreeMap::new(), cut_off: None };
        for member in Member::SERVICES {
            config.own_variables.insert(member, network.variables(member));
        }
        Ok(network)
    }

    /// Returns what a service must be told to reach the servers through its proxies.
    #[must_use]
    pub fn variables(&self, member: Member) -> Vec<(String, String)> {
        let proxies = self.services.iter().filter(|((of, _), _)| *of == member);
        let urls: Vec<String> = proxies.map(|(_, proxy)| format!("nats://127.0.0.1:{}", proxy.port())).collect();
        if urls.is_empty() { Vec::new() } else { vec![("NATS_URL".to_owned(), urls.join(","))] }
    }

    /// Sets what passes between a service and the servers.
    pub fn pass(&mut self, member: Member, passage: Passage) {
        self.passages.insert(member, passage);
        self.apply();
    }

    /// Cuts a server off, or nobody.
    pub fn cut_off(&mut self, server: Option<usize>) {
        self.cut_off = server;
        self.apply();
    }

    /// Lets everything pass.
    pub fn heal(&mut self) {
        self.passages.clear();
        self.cut_off(None);
    }

    fn apply(&self) {
        for ((member, server), proxy) in &self.services {
            let passage = self.passages.get(member).copied().unwrap_or(Passage::Open);
            proxy.set(if self.cut_off == Some(*server) { Passage::Cut } else { passage });
        }
        for ((from, to), proxy) in &self.routes {
            let is_cut = self.cut_off.is_some_and(|server| server == *from || server == *to);
            proxy.set(if is_cut { Passage::Cut } else { Passage::Open });
        }
    }
}
