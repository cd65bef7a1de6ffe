//! Streams at their limits: a bucket that accepts no entry, and ring buffers that are so small that they fill under
//! load.

use std::collections::BTreeMap;

use anyhow::Context;
use async_nats::jetstream::{self, stream};

use super::schedule::{BUCKET, TIMERS};
use crate::collect::unsettled;

/// The bytes that a ring buffer may need per pending message, including its follow-up.
const BYTES_PER_WAITING: u64 = 16 * 1024;

/// The original configurations of streams whose limits are lowered, by stream.
#[derive(Debug, Default)]
pub struct Limits {
    original: BTreeMap<String, stream::Config>,
}

impl Limits {
    /// Lowers the limit of a stream: of the bucket to its size; of TIMERS to more than its size, because no timer may
    /// be lost; of a ring buffer to `bytes`, or to more if many messages are pending, because these are accepted
    /// already.
    pub(super) async fn lower(&mut self, js: &jetstream::Context, name: &str, bytes: u64) -> anyhow::Result<()> {
        let lowering = || format!("lowering the limit of {name}");
        let stream = js.get_stream(name).await.with_context(lowering)?;
        let info = stream.cached_info();
        let limit = match name {
            BUCKET => info.state.bytes.max(1),
            // The gateway must not refuse commands yet, and the commands accepted until its next check must fit.
            TIMERS => info.state.bytes * 10 / 7 + bytes,
            _ => bytes.max(unsettled(js).await?.values().sum::<u64>() * BYTES_PER_WAITING),
        };
        let lowered = stream::Config { max_bytes: i64::try_from(limit)?, ..info.config.clone() };
        self.original.entry(name.to_owned()).or_insert_with(|| info.config.clone());
        js.update_stream(lowered).await.with_context(lowering)?;
        Ok(())
    }

    /// Restores the original limit of a stream.
    pub(super) async fn restore(&mut self, js: &jetstream::Context, name: &str) -> anyhow::Result<()> {
        if let Some(original) = self.original.get(name) {
            js.update_stream(original).await.with_context(|| format!("restoring the limit of {name}"))?;
            self.original.remove(name);
        }
        Ok(())
    }

    /// Restores the original limits of all streams.
    pub(super) async fn restore_all(&mut self, js: &jetstream::Context) -> anyhow::Result<()> {
        for name in self.original.keys().cloned().collect::<Vec<_>>() {
            self.restore(js, &name).await?;
        }
        Ok(())
    }
}
