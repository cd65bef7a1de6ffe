//! A stream that loses all it holds, and is filled again: by what an operator would do, in the background, and again
//! until it has succeeded, whatever else is broken meanwhile.

use std::path::Path;

use anyhow::{Context, bail};
use choreo::Operator;
use choreo::operator::OPERATOR;
use choreo::restore::{STALL_TIMEOUT, restore};
use demo::provision::{PROVISIONER, provision};
use demo::shop::nats_options;
use demo::{Component, ShopConfig};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Breaker;
use super::schedule::{EVENTS, Loss};

/// How far a stream is from having all it has lost.
#[derive(Debug, Default)]
pub enum Restoring {
    /// It has lost nothing, or has it again.
    #[default]
    Done,
    /// It has lost what it held, and is not to have it yet.
    Lost,
    /// It is to be filled again.
    Due,
    /// It is being filled.
    UnderWay(JoinHandle<anyhow::Result<u64>>),
}

impl Restoring {
    /// Gives up what is under way.
    fn stop(&mut self, next: Self) {
        if let Self::UnderWay(task) = std::mem::replace(self, next) {
            task.abort();
        }
    }
}

impl Breaker {
    /// Takes from the stream all it holds.
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

    /// Lets nats-server run again; the stream is filled from now on.
    pub(super) async fn make_again(&mut self, loss: Loss) -> anyhow::Result<()> {
        self.restoring.stop(Restoring::Due);
        if loss.is_offline() {
            self.down.retain(|down| *down != Component::NatsServer);
            self.shop.start_component(Component::NatsServer).await?;
        }
        self.archive.resume(EVENTS).await;
        Ok(())
    }

    /// Fills the stream where that is due, without waiting for it. Returns whether it lacks nothing.
    pub(super) async fn restore_stream(&mut self) -> bool {
        let is_over = match &self.restoring {
            Restoring::Done => return true,
            Restoring::Lost => return false,
            Restoring::Due => true,
            Restoring::UnderWay(task) => task.is_finished(),
        };
        if !is_over {
            return false;
        }
        if let Restoring::UnderWay(task) = std::mem::replace(&mut self.restoring, Restoring::Due) {
            let outcome = task.await.map_err(anyhow::Error::from).and_then(|filled| filled);
            match outcome {
                Ok(published) => {
                    self.note(&json!({"restored": EVENTS, "published": published}));
                    self.restoring = Restoring::Done;
                    return true;
                }
                Err(error) => self.note(&json!({"restored": EVENTS, "failed": format!("{error:#}")})),
            }
        }
        self.restoring = Restoring::UnderWay(tokio::spawn(fill(self.shop.config().clone())));
        false
    }

    /// Returns whether the stream lacks nothing.
    pub(super) fn is_republished(&self) -> bool {
        matches!(self.restoring, Restoring::Done)
    }

    /// Begins to fill the stream where it is to have nothing yet.
    pub(super) async fn restore_what_is_lost(&mut self) {
        self.archive.resume(EVENTS).await;
        if matches!(self.restoring, Restoring::Lost) {
            self.restoring = Restoring::Due;
        }
    }
}

/// Makes the stream and its consumers where they are gone, and has the services publish again what they keep. Returns
/// how many messages.
async fn fill(config: ShopConfig) -> anyhow::Result<u64> {
    provision(&nats_options(&config, PROVISIONER), config.replicas()).await?;
    let operator = Operator::connect(&nats_options(&config, OPERATOR)).await?;
    let all = restore(&operator, EVENTS, None, STALL_TIMEOUT, &CancellationToken::new(), |_| ()).await?;
    if let Some(failed) = all.iter().find(|progress| !progress.done) {
        bail!("{}: {}", failed.service, failed.failed.as_deref().unwrap_or("it is not done"));
    }
    Ok(all.iter().map(|progress| progress.published).sum())
}

/// Removes the stream, or only its messages, from a shop folder that no server uses.
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
