//! The messages as they pass, a line each, for whoever watches the terminal.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::select;
use messaging::connection::{self, NatsOptions};
use messaging::{Health, dead_letter};

/// Lines a second; what is more is counted and not shown.
const PER_SECOND: u32 = 20;

/// Shows commands, events, and dead letters until the connection is closed.
///
/// # Errors
///
/// Where the subscriptions cannot be made.
pub async fn watch(nats: NatsOptions, show: impl Fn(&str)) -> anyhow::Result<()> {
    let client = connection::connect(&nats, "inspector", &Health::default()).await?;
    let commands = client.subscribe("*.command.>").await?;
    let events = client.subscribe("*.event.>").await?;
    let dead_letters = client.subscribe("dead-letter.>").await?;
    let mut messages = select(select(commands, events), dead_letters);
    let (mut second, mut shown, mut hidden) = (Instant::now(), 0, 0_u64);
    while let Some(message) = messages.next().await {
        if second.elapsed() > Duration::from_secs(1) {
            if hidden > 0 {
                show(&format!("… and {hidden} more"));
            }
            (second, shown, hidden) = (Instant::now(), 0, 0);
        }
        if shown == PER_SECOND {
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
    Ok(())
}
