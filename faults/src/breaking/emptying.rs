//! A stream that loses all it holds, and is filled again: by what an operator would do, in the background, and again
//! until it has succeeded, whatever else is broken meanwhile.

use std::path::Path;

use anyhow::{Context, bail};
use choreo::Operator;
use choreo::operator::OPERATOR;
use choreo::refill::{STALL_TIMEOUT, refill};
use demo::provision::{PROVISIONER, provision};
use demo::store::nats_options;
use demo::{Member, StoreConfig};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Breaker;
use super::schedule::{EVENTS, Loss};

/// How far a stream is from having all it has lost.
#[derive(Debug, Default)]
pub enum Refilling {
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

impl Refilling {
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
        self.refilling.stop(Refilling::Lost);
        self.archive.suspend(EVENTS).await;
        match loss {
            Loss::Folder | Loss::Messages => {
                self.down.push(Member::NatsServer);
                self.store.kill(Member::NatsServer)?;
                remove(&self.store.config().data.join("nats"), loss)
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
        self.refilling.stop(Refilling::Due);
        if loss.is_offline() {
            self.down.retain(|down| *down != Member::NatsServer);
            self.store.start_member(Member::NatsServer).await?;
        }
        self.archive.resume(EVENTS).await;
        Ok(())
    }

    /// Fills the stream where that is due, without waiting for it. Returns whether it lacks nothing.
    pub(super) async fn refill(&mut self) -> bool {
        let is_over = match &self.refilling {
            Refilling::Done => return true,
            Refilling::Lost => return false,
            Refilling::Due => true,
            Refilling::UnderWay(task) => task.is_finished(),
        };
        if !is_over {
            return false;
        }
        if let Refilling::UnderWay(task) = std::mem::replace(&mut self.refilling, Refilling::Due) {
            let outcome = task.await.map_err(anyhow::Error::from).and_then(|filled| filled);
            match outcome {
                Ok(published) => {
                    self.note(&json!({"refilled": EVENTS, "published": published}));
                    self.refilling = Refilling::Done;
                    return true;
                }
                Err(error) => self.note(&json!({"refilled": EVENTS, "failed": format!("{error:#}")})),
            }
        }
        self.refilling = Refilling::UnderWay(tokio::spawn(fill(self.store.config().clone())));
        false
    }

    /// Returns whether the stream lacks nothing.
    pub(super) fn is_refilled(&self) -> bool {
        matches!(self.refilling, Refilling::Done)
    }

    /// Begins to fill the stream where it is to have nothing yet.
    pub(super) async fn refill_what_is_lost(&mut self) {
        self.archive.resume(EVENTS).await;
        if matches!(self.refilling, Refilling::Lost) {
            self.refilling = Refilling::Due;
        }
    }
}

/// Makes the stream and its consumers where they are gone, and has the services publish again what they keep. Returns
/// how many messages.
async fn fill(config: StoreConfig) -> anyhow::Result<u64> {
    provision(&nats_options(&config, PROVISIONER), config.replicas()).await?;
    let operator = Operator::connect(&nats_options(&config, OPERATOR)).await?;
    let all = refill(&operator, EVENTS, None, STALL_TIMEOUT, &CancellationToken::new(), |_| ()).await?;
    if let Some(failed) = all.iter().find(|progress| !progress.done) {
        bail!("{}: {}", failed.service, failed.failed.as_deref().unwrap_or("it is not done"));
    }
    Ok(all.iter().map(|progress| progress.published).sum())
}

/// Removes the stream, or only its messages, from a store folder that no server uses.
fn remove(store: &Path, loss: Loss) -> anyhow::Result<()> {
    let accounts = store.join("jetstream");
    let found = std::fs::read_dir(&accounts).with_context(|| format!("reading {}", accounts.display()))?;
    for account in found {
        let stream = account.context("reading the store folder")?.path().join("streams").join(EVENTS);
        let lost = if loss == Loss::Messages { stream.join("msgs") } else { stream };
        if lost.is_dir() {
            std::fs::remove_dir_all(&lost).with_context(|| format!("removing {}", lost.display()))?;
        }
    }
    Ok(())
}
