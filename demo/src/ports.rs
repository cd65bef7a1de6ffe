//! The check for ports that other processes use.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

use crate::config::ShopConfig;

/// Checks that all ports of the shop are free.
///
/// # Errors
///
/// If at least one port is taken; the error lists each with the process that uses it, and how to free it.
pub fn check(config: &ShopConfig) -> anyhow::Result<()> {
    let taken: Vec<String> = config
        .purposes()
        .into_iter()
        .filter(|(port, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|(port, purpose)| format!("port {port}, which {purpose} needs, is taken by {}", listener(port)))
        .collect();
    if taken.is_empty() { Ok(()) } else { bail!(taken.join("\n")) }
}

/// Describes the process that listens on a port, as far as the operating system shows it.
fn listener(port: u16) -> String {
    let process = listeners::get_all()
        .ok()
        .and_then(|all| all.into_iter().find(|found| found.socket.port() == port))
        .map(|found| found.process);
    match process {
        Some(process) => {
            format!("{} (process {}); free it with `kill {}`", process.name, process.pid, process.pid)
        }
        None => format!("a process of another user; `sudo ss -ltnp 'sport = :{port}'` shows it"),
    }
}
