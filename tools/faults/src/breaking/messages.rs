//! Faults of messages: duplicates, delays, and redeliveries after a long time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, HeaderMap};
use choreography::projection::admin::Action;
use choreography::{Health, connection};
use choreography_ops::{OPERATOR, Operator, projections};
use contracts::declaration::PROJECTIONS;
use demo::ShopConfig;
use demo::redelivery;
use demo::shop::nats_options;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use uuid::Uuid;

use crate::random::{Purpose, random};

/// The maximum time a consumer is paused, in case it is not resumed.
const MAX_HOLD: Duration = Duration::from_secs(120);
/// The time limit for a reply of the server.
const REPLY_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections to nats-server that no fault disconnects, as the users of `nats.conf`.
pub struct Messages {
    provisioner: Client,
    operator: Operator,
    producers: BTreeMap<&'static str, Client>,
    held: Vec<(&'static str, &'static str)>,
    random: ChaCha8Rng,
}

/// The producers per context and kind.
const PRODUCERS: [(&str, &str); 5] = [
    ("order.event", "order-service"),
    ("inventory.event", "inventory-service"),
    ("account.event", "account-service"),
    ("payment.event", "payment-service"),
    ("command", "api-gateway"),
];

impl Messages {
    /// Connects to nats-server.
    ///
    /// # Errors
    ///
    /// If nats-server cannot be reached.
    pub async fn connect(config: &ShopConfig, seed: u64) -> anyhow::Result<Self> {
        let connect = async |user: &str| {
            let client = connection::connect(&nats_options(config, user), user, &Health::default()).await?;
            client.flush().await.with_context(|| format!("connecting as {user}"))?;
            anyhow::Ok(client)
        };
        let mut producers = BTreeMap::new();
        for (context, user) in PRODUCERS {
            producers.insert(context, connect(user).await?);
        }
        let provisioner = connect("provisioner").await?;
        let operator = Operator::connect(&nats_options(config, OPERATOR), choreo::shop()?).await?;
        Ok(Self { provisioner, operator, producers, held: Vec::new(), random: random(seed, Purpose::Republish) })
    }

    /// Returns a JetStream context with access to all streams.
    #[must_use]
    pub fn jetstream(&self) -> jetstream::Context {
        connection::jetstream(&self.provisioner)
    }

    async fn stream(&self, name: &str) -> anyhow::Result<Stream> {
        self.jetstream().get_stream(name).await.with_context(|| format!("reading {name}"))
    }

    /// Publishes random stored messages again, with the same `ce-id` and another `Nats-Msg-Id`, so that the stream
    /// stores them: as a publisher does whose acknowledgement was lost for longer than the duplicate window.
    pub(super) async fn republish(&mut self, count: usize) -> anyhow::Result<()> {
        for name in ["COMMANDS", "EVENTS"] {
            let stream = self.stream(name).await?;
            let state = &stream.cached_info().state;
            if state.messages == 0 {
                continue;
            }
            for _ in 0..count / 2 {
                let sequence = self.random.random_range(state.first_sequence..=state.last_sequence);
                let message = stream.direct_get(sequence).await.context("reading a message to repeat")?;
                // Headers of the server contain the position of the original, not of the copy.
                let own = message.headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-"));
                let own = own.flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone())));
                let mut headers: HeaderMap = own.collect();
                headers.insert("Nats-Msg-Id", Uuid::new_v4().to_string());
                let message_out = PublishMessage::build().headers(headers).payload(message.payload.clone());
                let producer = connection::jetstream(self.producer(&message.subject)?);
                let sent = producer.send_publish(message.subject.to_string(), message_out).await;
                let acknowledged = sent.context("repeating a message")?;
                tokio::time::timeout(REPLY_TIMEOUT, acknowledged).await.context("repeating a message")??;
            }
        }
        Ok(())
    }

    fn producer(&self, subject: &str) -> anyhow::Result<&Client> {
        let mut tokens = subject.split('.');
        let (context, kind) = (tokens.next().unwrap_or_default(), tokens.next().unwrap_or_default());
        let context = if kind == "command" { kind.to_owned() } else { format!("{context}.{kind}") };
        self.producers.get(context.as_str()).with_context(|| format!("{subject} has no producer"))
    }

    /// Sets a consumer back by this number of messages of its stream.
    pub(super) async fn replay(&self, stream: &str, consumer: &str, count: u64) -> anyhow::Result<()> {
        redelivery::set_back(&self.provisioner, stream, consumer, count).await
    }

    /// Pauses or resumes the delivery of a consumer.
    pub(super) async fn hold(
        &mut self,
        stream: &'static str,
        consumer: &'static str,
        held: bool,
    ) -> anyhow::Result<()> {
        let handle = self.stream(stream).await?;
        if held {
            self.held.push((stream, consumer));
            let until = SystemTime::now() + MAX_HOLD;
            handle.pause_consumer(consumer, until.into()).await.context("holding a consumer")?;
        } else {
            handle.resume_consumer(consumer).await.context("releasing a consumer")?;
            self.held.retain(|other| *other != (stream, consumer));
        }
        Ok(())
    }

    /// Changes a projection.
    pub(super) async fn change_projection(&self, name: &str, action: Action) -> anyhow::Result<()> {
        let (_, version) = PROJECTIONS.iter().find(|(known, _)| *known == name).context("no such projection")?;
        let changed = projections::change(&self.operator, &format!("{name}-v{version}"), action).await?;
        changed.map(drop).with_context(|| format!("projection-service does not have {name}"))
    }

    /// Starts every projection that does not run.
    pub(super) async fn start_projections(&self) -> anyhow::Result<()> {
        for (name, _) in PROJECTIONS {
            self.change_projection(name, Action::Start).await?;
        }
        Ok(())
    }

    /// Resumes every paused consumer.
    pub(super) async fn release_all(&mut self) -> anyhow::Result<()> {
        for (stream, consumer) in self.held.clone() {
            self.hold(stream, consumer, false).await?;
        }
        Ok(())
    }
}
