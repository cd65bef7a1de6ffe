//! The latency of the broker alone: publish to acknowledgement, for messages of a command's size.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use async_nats::jetstream::stream;
use async_nats::{Client, Subscriber};
use futures::StreamExt;

use crate::latencies::Latencies;
use crate::options::Span;
use crate::orders::{Orders, Outbound};
use crate::pacer::pace;
use crate::stage::Stage;
use crate::statistics::rate;

/// The stream of the messages, on a subject to which the gateway's user may publish.
const STREAM: &str = "BENCH";
const SUBJECT: &str = "order.query.bench";

/// A publisher that measures the latency of acknowledgements.
pub struct Broker {
    client: Client,
    orders: Orders,
    inbox: String,
    acknowledgements: Subscriber,
    next: u64,
    due: HashMap<u64, Instant>,
}

impl Broker {
    /// Creates a stream with the configuration of COMMANDS.
    ///
    /// # Errors
    ///
    /// If nats-server refuses.
    pub async fn open(stage: &Stage) -> anyhow::Result<Self> {
        let commands = stage.provisioner.get_stream(contracts::topology::COMMANDS).await?;
        let config = stream::Config {
            name: STREAM.to_owned(),
            description: None,
            subjects: vec![format!("{SUBJECT}.*")],
            ..commands.cached_info().config.clone()
        };
        stage.provisioner.create_or_update_stream(config).await.context("creating a stream")?;
        let inbox = stage.client.new_inbox();
        let acknowledgements = stage.client.subscribe(format!("{inbox}.*")).await?;
        let client = stage.client.clone();
        Ok(Self { client, orders: stage.orders, inbox, acknowledgements, next: 0, due: HashMap::new() })
    }

    /// Publishes at a fixed rate, open loop: each latency begins when the message was due.
    ///
    /// # Errors
    ///
    /// If the stream refuses a message.
    pub async fn paced(&mut self, rate: f64, span: Span) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::new("broker: publish to ack")?;
        let begin = Instant::now() + span.warm_up();
        let mut times = pace(rate, span.warm_up() + span.length())?;
        let mut ended = false;
        while !(ended && self.due.is_empty()) {
            tokio::select! {
                due = times.recv(), if !ended => match due {
                    Some(due) => self.publish(due).await?,
                    None => ended = true,
                },
                acknowledged = self.acknowledgements.next() => {
                    let due = self.acknowledged(acknowledged)?;
                    if due >= begin {
                        latencies.add(due.elapsed());
                    }
                }
            }
        }
        Ok(latencies)
    }

    /// Publishes with a fixed number of messages in flight, closed loop; also returns the rate per second.
    ///
    /// # Errors
    ///
    /// If the stream refuses a message.
    pub async fn closed(&mut self, in_flight: u64, span: Span) -> anyhow::Result<(Latencies, f64)> {
        let mut latencies = Latencies::new("broker: publish to ack")?;
        let begin = Instant::now() + span.warm_up();
        let end = begin + span.length();
        for _ in 0..in_flight {
            self.publish(Instant::now()).await?;
        }
        while !self.due.is_empty() {
            let acknowledged = self.acknowledgements.next().await;
            let sent = self.acknowledged(acknowledged)?;
            let now = Instant::now();
            if now < end {
                if now >= begin {
                    latencies.add(sent.elapsed());
                }
                self.publish(now).await?;
            }
        }
        let rate = rate(latencies.count(), span.length());
        Ok((latencies, rate))
    }

    async fn publish(&mut self, due: Instant) -> anyhow::Result<()> {
        let number = self.next;
        self.next += 1;
        let Outbound { headers, body, .. } = self.orders.command(number, 0)?;
        let subject = format!("{SUBJECT}.{}", self.orders.id(number));
        let reply = format!("{}.{number}", self.inbox);
        self.due.insert(number, due);
        Ok(self.client.publish_with_reply_and_headers(subject, reply, headers, body).await?)
    }

    /// Returns the start time of the message that was acknowledged.
    fn acknowledged(&mut self, message: Option<async_nats::Message>) -> anyhow::Result<Instant> {
        let message = message.context("the connection is closed")?;
        crate::pipeline::count(&message.payload)?;
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        number.and_then(|number| self.due.remove(&number)).context("an acknowledgement of an unknown message")
    }
}
