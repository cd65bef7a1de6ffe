//! Streams, buckets, and consumers as the contracts declare them.

use std::time::Duration;

use anyhow::{Context, bail};
use messaging::Topology;
use messaging::connection::{self, NatsOptions};

/// The name of the user that may make streams.
pub const PROVISIONER: &str = "provisioner";
/// How long a server that starts beside us may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long all of it may take.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes everything exist that `contracts::topology` declares.
///
/// # Errors
///
/// At once if the server refuses the user, is too old, or refuses a permission; within 30 s if it does not answer; and if
/// it refuses a change, or makes something other than what is declared. After 60 s in any case.
pub async fn provision(nats: &NatsOptions, replicas: usize) -> anyhow::Result<()> {
    let (client, health) = connection::establish(nats, PROVISIONER, CONNECT_TIMEOUT).await?;
    let topology = Topology::parse(contracts::topology::TOPOLOGY)?;
    let js = connection::jetstream(&client);
    tokio::select! {
        provisioned = tokio::time::timeout(PROVISION_TIMEOUT, topology.provision(&js, replicas)) => {
            let late = || format!("nats-server does not finish within {} s", PROVISION_TIMEOUT.as_secs());
            provisioned.with_context(late)?
        }
        refusal = connection::refused(&health) => {
            let user = nats.nats_user.as_deref().unwrap_or(PROVISIONER);
            bail!("nats-server refuses user {user} a permission that provisioning needs: {refusal}")
        }
    }
}
