//! Streams at their limits: a bucket that accepts no entry, and ring buffers that are so small that they fill under
//! load.

use std::collections::BTreeMap;

use anyhow::Context;
use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;

use super::fault::{BUCKET, TIMERS};
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
    /// be lost; of a ring buffer to `bytes`, or to more for accepted messages: those that follow the first one that a
    /// consumer has not acknowledged, and what pending ones still produce.
    pub(super) async fn lower(&mut self, js: &jetstream::Context, name: &str, bytes: u64) -> anyhow::Result<()> {
        let lowering = || format!("lowering the limit of {name}");
        let stream = js.get_stream(name).await.with_context(lowering)?;
        let info = stream.cached_info();
        let limit = match name {
            BUCKET => info.state.bytes.max(1),
            // The gateway must not refuse commands yet, and the commands accepted until its next check must fit.
            TIMERS => info.state.bytes * 10 / 7 + bytes,
            _ => {
                let waiting = unsettled(js).await?.values().sum::<u64>() * BYTES_PER_WAITING;
                bytes.max(waiting + unconsumed_bytes(&stream).await.with_context(lowering)?)
            }
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

/// Returns the bytes that a ring buffer needs for all messages from the first one on that a consumer has not
/// acknowledged, if all messages have the same size. Later messages may be acknowledged: a restarted service gets those
/// of its predecessor after the ack-wait.
async fn unconsumed_bytes(stream: &stream::Stream) -> anyhow::Result<u64> {
    let state = &stream.cached_info().state;
    let mut acknowledged = state.last_sequence;
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.try_next().await? {
        if consumer.config.durable_name.is_some() {
            acknowledged = acknowledged.min(consumer.ack_floor.stream_sequence);
        }
    }
    Ok(state.bytes.div_ceil(state.messages.max(1)) * (state.last_sequence - acknowledged))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use async_nats::jetstream::consumer::PullConsumer;
    use choreography::connection::NatsOptions;
    use choreography_test::TestNats;
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_lowered_limit_keeps_a_message_that_is_not_acknowledged_although_later_ones_are() {
        let nats = TestNats::start().await.unwrap();
        let js = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
        let options = NatsOptions { nats_url: nats.url(), ..NatsOptions::default() };
        demo::provision::provision(&options, 1).await.unwrap();
        for number in 0..100 {
            let subject = format!("payment.event.captured.K{number}");
            js.publish(subject, vec![b' '; 2_000].into()).await.unwrap().await.unwrap();
        }
        let consumer: PullConsumer = js.get_consumer_from_stream("order-service", "EVENTS").await.unwrap();
        let mut messages = consumer.fetch().max_messages(100).messages().await.unwrap().enumerate();
        while let Some((number, message)) = messages.next().await {
            if number > 0 {
                message.unwrap().double_ack().await.unwrap();
            }
        }
        Limits::default().lower(&js, "EVENTS", 20_000).await.unwrap();
        let first = js.get_stream("EVENTS").await.unwrap().cached_info().state.first_sequence;
        assert_eq!(first, 1);
    }
}
