//! A process with few file descriptors left.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;

/// The number of descriptors left to the process.
const LEFT: usize = 8;
/// The number of idle clients.
const CLIENTS: usize = 60;

/// A lowered descriptor limit. Dropping it disconnects the clients.
#[derive(Debug)]
pub struct Shortage {
    process: u32,
    limit: String,
    _clients: Vec<TcpStream>,
}

impl Shortage {
    /// Lowers the limit of a process to a few more descriptors than are open, and connects idle clients to one of its
    /// ports.
    ///
    /// # Errors
    ///
    /// If the limit cannot be read or set.
    pub(super) async fn begin(process: u32, port: u16) -> anyhow::Result<Self> {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).context("reading its limits")?;
        let line = limits.lines().find(|line| line.starts_with("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().nth(3)).context("reading its limit of files")?;
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).context("counting its descriptors")?.count();
        let shortage = Self { process, limit: soft.to_owned(), _clients: Vec::new() };
        set_limit(process, &(open + LEFT).to_string())?;
        let mut clients = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let connecting = TcpStream::connect(("127.0.0.1", port));
            if let Ok(Ok(client)) = tokio::time::timeout(Duration::from_millis(200), connecting).await {
                clients.push(client);
            }
        }
        Ok(Self { _clients: clients, ..shortage })
    }

    /// Restores the limit of the process; does nothing if the process has ended.
    pub(super) fn end(self) {
        let _ = set_limit(self.process, &self.limit);
    }
}

fn set_limit(process: u32, soft: &str) -> anyhow::Result<()> {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={process}")).arg(format!("--nofile={soft}:"));
    let output = command.output().context("running prlimit")?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
