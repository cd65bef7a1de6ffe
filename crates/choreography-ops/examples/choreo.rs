//! The program for any system of services: dead letters, timelines, the library's checks, and stream restore.
//!
//! It reads streams and consumers from `topology.json`. A system with checks of its own has a program of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use choreography::Topology;
use choreography_ops::checks::Watcher;
use choreography_ops::{Cli, System};
use clap::Parser;

/// Finds and repairs problems of a system of services.
///
/// Connects as the user `operator` of NATS; `OPERATOR_PASSWORD` or `NATS_PASSWORD` is its password.
#[derive(Parser)]
#[command(version, name = "choreo")]
struct Arguments {
    /// The file with the streams and consumers of the system.
    #[arg(long, env = "TOPOLOGY", default_value = "topology.json", global = true)]
    topology: PathBuf,
    #[command(flatten)]
    cli: Cli,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { topology, cli } = Arguments::parse();
    let system = || {
        let text = std::fs::read_to_string(&topology).with_context(|| format!("reading {}", topology.display()))?;
        Ok(System::new(Topology::parse(&text)?))
    };
    cli.run(system, Watcher::default()).await
}
