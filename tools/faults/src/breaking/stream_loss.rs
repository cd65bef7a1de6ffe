//! A stream that loses its messages and is restored with the operator's commands. The restore runs in the background,
//! and is repeated until it succeeds despite other faults.

use std::path::Path;

use anyhow::{Context, bail};
use choreography_ops::restore::{STALL_TIMEOUT, restore};
use choreography_ops::{OPERATOR, Operator};
use demo::provision::{PROVISIONER, provision};
use demo::shop::nats_options;
use demo::{Component, ShopConfig};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Breaker;
use super::fault::{EVENTS, Loss};

/// The progress of a restore.
#[derive(Debug, Default)]
pub enum Restoring {
    /// The stream is complete.
    #[default]
    Done,
    /// The stream lost its messages, and the restore must not begin yet.
    Lost,
    /// The restore can begin.
    Due,
    /// The restore is in progress.
    UnderWay(JoinHandle<anyhow::Result<u64>>),
}

impl Restoring {
    /// Aborts a restore in progress.
    fn stop(&mut self, next: Self) {
        if let Self::UnderWay(task) = std::mem::replace(self, next) {
            task.abort();
        }
    }
}

impl Breaker {
    /// Removes the messages of the stream.
    pub(super) async fn lose(&mut self, loss: Loss) -> anyhow::Result<()> {
        self.restoring.stop(Restoring::Lost);
        self.archive.suspend(EVENTS).await;
        match loss {
            Loss::Folder | Loss::Messages => {
                self.down.push(Component::NatsServer);
                self.shop.kill(Component::NatsServer)?;
                remove(&self.shop.config().data.join("nats"), loss)
            }
            Loss::Deleted => {
                self.messages.jetstream().delete_stream(EVENTS).await.context("deleting the stream")?;
                Ok(())
            }
            Loss::Purged => {
                let stream = self.messages.jetstream().get_stream(EVENTS).await.context("finding the stream")?;
                stream.purge().await.context("purging the stream")?;
                Ok(())
            }
        }
    }

    /// Starts nats-server if it is down; the restore can begin.
    pub(super) async fn recreate(&mut self, loss: Loss) -> anyhow::Result<()> {
        self.restoring.stop(Restoring::Due);
        if loss.is_offline() {
            self.down.retain(|down| *down != Component::NatsServer);
            self.shop.start_component(Component::NatsServer).await?;
        }
        self.archive.resume(EVENTS).await;
        Ok(())
    }

    /// Starts the restore if it is due, without waiting for it. Returns whether the stream is complete.
    pub(super) async fn restore_stream(&mut self) -> bool {
        let is_due = match &self.restoring {
            Restoring::Done => return true,
            Restoring::Lost => return false,
            Restoring::Due => true,
            Restoring::UnderWay(task) => task.is_finished(),
        };
        if !is_due {
            return false;
        }
        if let Restoring::UnderWay(task) = std::mem::replace(&mut self.restoring, Restoring::Due) {
            let outcome = task.await.map_err(anyhow::Error::from).and_then(|restored| restored);
            match outcome {
                Ok(published) => {
                    self.write_log(&json!({"restored": EVENTS, "published": published}));
                    self.restoring = Restoring::Done;
                    return true;
                }
                Err(error) => self.write_log(&json!({"restored": EVENTS, "failed": format!("{error:#}")})),
            }
        }
        self.restoring = Restoring::UnderWay(tokio::spawn(republish_events(self.shop.config().clone())));
        false
    }

    /// Returns whether the stream is complete.
    pub(super) fn is_republished(&self) -> bool {
        matches!(self.restoring, Restoring::Done)
    }

    /// Lets the restore of a lost stream begin.
    pub(super) async fn begin_restore(&mut self) {
        self.archive.resume(EVENTS).await;
        if matches!(self.restoring, Restoring::Lost) {
            self.restoring = Restoring::Due;
        }
    }
}

/// Creates the stream and its consumers if they are missing, and makes the services republish their outboxes. Returns
/// the number of republished messages.
async fn republish_events(config: ShopConfig) -> anyhow::Result<u64> {
    provision(&nats_options(&config, PROVISIONER), config.replicas()).await?;
    let operator = Operator::connect(&nats_options(&config, OPERATOR), choreo::shop()?).await?;
    let all = restore(&operator, EVENTS, None, STALL_TIMEOUT, &CancellationToken::new(), |_| ()).await?;
    if let Some(failed) = all.iter().find(|progress| !progress.done) {
        bail!("{}: {}", failed.service, failed.failed.as_deref().unwrap_or("it is incomplete"));
    }
    Ok(all.iter().map(|progress| progress.published).sum())
}

/// Removes the stream, or only its messages, from a store directory that no server uses.
fn remove(shop: &Path, loss: Loss) -> anyhow::Result<()> {
    let accounts = shop.join("jetstream");
    let found = std::fs::read_dir(&accounts).with_context(|| format!("reading {}", accounts.display()))?;
    for account in found {
        let stream = account.context("reading the shop folder")?.path().join("streams").join(EVENTS);
        let lost = if loss == Loss::Messages { stream.join("msgs") } else { stream };
        if lost.is_dir() {
            std::fs::remove_dir_all(&lost).with_context(|| format!("removing {}", lost.display()))?;
        }
    }
    Ok(())
}
