//! Streams at their limits: a bucket that takes nothing more, and rings that are so small that they fill under load.

use std::collections::BTreeMap;

use anyhow::Context;
use async_nats::jetstream::{self, stream};

use super::schedule::{BUCKET, TIMERS};
use crate::collect::unsettled;

/// Bytes that may be written to a ring per message that waits at the moment, with all that follows from it.
const BYTES_PER_WAITING: u64 = 16 * 1024;

/// The configurations of streams that have lower limits for a while, by stream.
#[derive(Debug, Default)]
pub struct Limits {
    own: BTreeMap<String, stream::Config>,
}

impl Limits {
    /// Lowers the limit of a stream: of the bucket to what it holds, of TIMERS to more than that, because all of it
    /// is needed, and of a ring to `bytes`, or to more if much is unconsumed: what waits is accepted already.
    pub(super) async fn lower(&mut self, js: &jetstream::Context, name: &str, bytes: u64) -> anyhow::Result<()> {
        let lowering = || format!("lowering the limit of {name}");
        let looked = js.get_stream(name).await.with_context(lowering)?;
        let info = looked.cached_info();
        let limit = match name {
            BUCKET => info.state.bytes.max(1),
            // The gateway is not to refuse commands yet, and what it accepts before it looks again must fit.
            TIMERS => info.state.bytes * 10 / 7 + bytes,
            _ => bytes.max(unsettled(js).await?.values().sum::<u64>() * BYTES_PER_WAITING),
        };
        let lowered = stream::Config { max_bytes: i64::try_from(limit)?, ..info.config.clone() };
        self.own.entry(name.to_owned()).or_insert_with(|| info.config.clone());
        js.update_stream(lowered).await.with_context(lowering)?;
        Ok(())
    }

    /// Gives a stream its own limit back.
    pub(super) async fn restore(&mut self, js: &jetstream::Context, name: &str) -> anyhow::Result<()> {
        if let Some(own) = self.own.get(name) {
            js.update_stream(own).await.with_context(|| format!("restoring the limit of {name}"))?;
            self.own.remove(name);
        }
        Ok(())
    }

    /// Gives every stream its own limit back.
    pub(super) async fn restore_all(&mut self, js: &jetstream::Context) -> anyhow::Result<()> {
        for name in self.own.keys().cloned().collect::<Vec<_>>() {
            self.restore(js, &name).await?;
        }
        Ok(())
    }
}
