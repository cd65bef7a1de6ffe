//! An idempotency bucket that takes nothing more.

use anyhow::Context;
use async_nats::jetstream::{self, stream};

/// The stream behind the bucket.
const STREAM: &str = "KV_IDEMPOTENCY";

/// The bucket's own configuration, while it has another one.
#[derive(Debug, Default)]
pub struct Bucket {
    own: Option<stream::Config>,
}

impl Bucket {
    /// Lowers the limit of the bucket to what it holds.
    pub(super) async fn fill(&mut self, js: &jetstream::Context) -> anyhow::Result<()> {
        let looked = js.get_stream(STREAM).await.context("looking at the bucket")?;
        let info = looked.cached_info();
        let bytes = i64::try_from(info.state.bytes).unwrap_or(i64::MAX).max(1);
        let full = stream::Config { max_bytes: bytes, ..info.config.clone() };
        self.own.get_or_insert_with(|| info.config.clone());
        js.update_stream(full).await.context("lowering the bucket's limit")?;
        Ok(())
    }

    /// Gives the bucket its own limit back.
    pub(super) async fn restore(&mut self, js: &jetstream::Context) -> anyhow::Result<()> {
        if let Some(own) = &self.own {
            js.update_stream(own).await.context("restoring the bucket's limit")?;
            self.own = None;
        }
        Ok(())
    }
}
