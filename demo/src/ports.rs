//! Ports that the shop needs and somebody else has.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

use crate::config::ShopConfig;

/// Refuses to start where a port is taken, and says by whom and how to free it.
///
/// # Errors
///
/// Where at least one port is taken; all of them are named.
pub fn check(config: &ShopConfig) -> anyhow::Result<()> {
    let taken: Vec<String> = config
        .purposes()
        .into_iter()
        .filter(|(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|(port, purpose)| format!("port {port}, which {purpose} needs, is taken by {}", holder(port)))
        .collect();
    if taken.is_empty() { Ok(()) } else { bail!(taken.join("\n")) }
}

/// Returns who listens on a port, as far as the operating system tells us.
fn holder(port: u16) -> String {
    let process = listeners::get_all()
        .ok()
        .and_then(|all| all.into_iter().find(|listener| listener.socket.port() == port))
        .map(|listener| listener.process);
    match process {
        Some(process) => {
            format!("{} (process {}); free it with `kill {}`", process.name, process.pid, process.pid)
        }
        None => format!("a process of another user; `sudo ss -ltnp 'sport = :{port}'` names it"),
    }
}
