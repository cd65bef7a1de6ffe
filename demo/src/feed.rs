//! The live feed of messages on the terminal, one line per message.

use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::Subscriber;
use choreography::connection::{self, NatsOptions};
use choreography::dead_letter;
use futures::StreamExt;
use futures::stream::{Select, select};

/// The maximum number of lines per second; further messages are counted and not shown.
const MAX_PER_SECOND: u32 = 20;
/// How long connecting to nats-server, and the first flush, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A subscription to all messages from now on.
pub struct Feed {
    messages: Select<Select<Subscriber, Subscriber>, Subscriber>,
}

impl Feed {
    /// Subscribes to commands, events, and dead letters.
    ///
    /// # Errors
    ///
    /// If nats-server refuses the user, or does not respond within 10 s.
    pub async fn open(nats: NatsOptions) -> anyhow::Result<Self> {
        let (client, _) = connection::establish(&nats, "inspector", CONNECT_TIMEOUT).await?;
        let commands = client.subscribe("*.command.>").await?;
        let events = client.subscribe("*.event.>").await?;
        let dead_letters = client.subscribe("dead-letter.>").await?;
        // After the flush, nats-server has the subscriptions.
        let flushed = tokio::time::timeout(CONNECT_TIMEOUT, client.flush()).await;
        flushed.context("nats-server does not respond")??;
        Ok(Self { messages: select(select(commands, events), dead_letters) })
    }

    /// Shows one line per message, until the connection is closed.
    pub async fn watch(mut self, show: impl Fn(&str)) {
        let (mut second, mut shown, mut hidden) = (Instant::now(), 0, 0_u64);
        while let Some(message) = self.messages.next().await {
            if second.elapsed() > Duration::from_secs(1) {
                if hidden > 0 {
                    show(&format!("… and {hidden} more"));
                }
                (second, shown, hidden) = (Instant::now(), 0, 0);
            }
            if shown == MAX_PER_SECOND {
                hidden += 1;
                continue;
            }
            shown += 1;
            let detail = message.headers.as_ref().and_then(|headers| headers.get(dead_letter::DETAIL));
            match detail {
                Some(detail) => show(&format!("{} ({})", message.subject, detail.as_str())),
                None => show(message.subject.as_str()),
            }
        }
    }
}
