//! Streams, buckets, and consumers as the contracts declare them.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream;
use contracts::topology::DEAD_LETTERS;
use messaging::Topology;
use messaging::connection::{self, NatsOptions};

/// The name of the user that may make streams.
pub const PROVISIONER: &str = "provisioner";
/// How long a server that starts beside us may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A subject of the stream of dead letters before the first release.
const RETIRED: &str = "discarded.>";
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
    let provisioning = async {
        refuse_earlier_streams(&js).await?;
        topology.provision(&js, replicas).await
    };
    tokio::select! {
        provisioned = tokio::time::timeout(PROVISION_TIMEOUT, provisioning) => {
            let late = || format!("nats-server does not finish within {} s", PROVISION_TIMEOUT.as_secs());
            provisioned.with_context(late)?
        }
        refusal = connection::refused(&health) => {
            let user = nats.nats_user.as_deref().unwrap_or(PROVISIONER);
            bail!("nats-server refuses user {user} a permission that provisioning needs: {refusal}")
        }
    }
}

/// Refuses streams from before the first release: their messages have other subjects and headers.
async fn refuse_earlier_streams(js: &jetstream::Context) -> anyhow::Result<()> {
    let Ok(stream) = js.get_stream(DEAD_LETTERS).await else {
        // It does not exist; or provisioning fails with the reason.
        return Ok(());
    };
    if stream.cached_info().config.subjects.iter().any(|subject| subject == RETIRED) {
        bail!(
            "the streams on nats-server were made before the first release, and their subjects have other names: they \
             cannot be brought up to date; nothing was changed: start with an empty data folder or nats-server"
        );
    }
    Ok(())
}
