//! Provisioning of the streams, buckets, and consumers that the contracts declare.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream;
use choreography::connection::{self, NatsOptions};
use contracts::declaration::topology_for;
use contracts::topology::DEAD_LETTERS;

/// The user that may create streams.
pub const PROVISIONER: &str = "provisioner";
/// How long a server that starts at the same time may take to respond.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A subject of the stream `DEAD_LETTERS` before the first release.
const RETIRED: &str = "discarded.>";
/// How long provisioning may take in total.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates or updates all streams, buckets, and consumers that `contracts` declares for a shop without sign-in.
///
/// # Errors
///
/// At once if the server refuses the user or a permission, or is too old; after 30 s if it does not respond. Also if it
/// refuses a change, or creates something that differs from the declaration. After 60 s in any case.
pub async fn provision(nats: &NatsOptions, replicas: usize) -> anyhow::Result<()> {
    provision_for(nats, replicas, false).await
}

/// As [`provision`]; with sign-in also the consumer of identity-service. Without it nothing would consume from it.
///
/// # Errors
///
/// As [`provision`].
pub async fn provision_for(nats: &NatsOptions, replicas: usize, auth: bool) -> anyhow::Result<()> {
    let (client, health) = connection::establish(nats, PROVISIONER, CONNECT_TIMEOUT).await?;
    let topology = topology_for(auth)?;
    let js = connection::jetstream(&client);
    let provisioning = async {
        refuse_earlier_streams(&js).await?;
        topology.provision(&js, replicas).await
    };
    tokio::select! {
        provisioned = tokio::time::timeout(PROVISION_TIMEOUT, provisioning) => {
            let late = || format!("nats-server did not finish provisioning within {} s", PROVISION_TIMEOUT.as_secs());
            provisioned.with_context(late)?
        }
        refusal = connection::refused(&health) => {
            let user = nats.nats_user.as_deref().unwrap_or(PROVISIONER);
            bail!("nats-server refuses user {user} a permission that provisioning needs: {refusal}")
        }
    }
}

/// Rejects streams from before the first release: their messages have other subjects and headers.
async fn refuse_earlier_streams(js: &jetstream::Context) -> anyhow::Result<()> {
    let Ok(stream) = js.get_stream(DEAD_LETTERS).await else {
        // The stream does not exist, or provisioning fails with the reason.
        return Ok(());
    };
    if stream.cached_info().config.subjects.iter().any(|subject| subject == RETIRED) {
        bail!(
            "the streams on nats-server are from before the first release, with other subjects; they cannot be \
             updated, and nothing was changed; start with an empty data folder or nats-server"
        );
    }
    Ok(())
}
