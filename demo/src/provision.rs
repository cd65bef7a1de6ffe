//! Streams, buckets, and consumers as the contracts declare them.

use anyhow::Context;
use messaging::connection::{self, NatsOptions};
use messaging::{Health, Topology};

/// The name of the user that may make streams.
pub const PROVISIONER: &str = "provisioner";

/// Makes everything exist that `contracts::topology` declares.
///
/// # Errors
///
/// Where the server refuses; what it cannot change in place is named.
pub async fn provision(nats: &NatsOptions, replicas: usize) -> anyhow::Result<()> {
    let client = connection::connect(nats, PROVISIONER, &Health::default()).await?;
    // Waits for the connection, so that a server that starts beside us is no error.
    client.flush().await.context("connecting to nats-server")?;
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    topology.provision(&connection::jetstream(&client), replicas).await
}
