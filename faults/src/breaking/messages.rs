//! What goes wrong with messages themselves: they come twice, late, or again after a long time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, HeaderMap};
use demo::ShopConfig;
use demo::redelivery;
use demo::shop::nats_options;
use messaging::{Health, connection};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use uuid::Uuid;

use crate::options::{Purpose, random};

/// The longest a consumer is held, should nobody release it.
const MAX_HOLD: Duration = Duration::from_secs(120);
/// How long the server may take for anything.
const REPLY_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections to nats-server that no fault cuts, as the users of `nats.conf`.
pub struct Messages {
    provisioner: Client,
    producers: BTreeMap<&'static str, Client>,
    held: Vec<(&'static str, &'static str)>,
    random: ChaCha8Rng,
}

/// Who speaks in a context.
const PRODUCERS: [(&str, &str); 5] = [
    ("order.event", "order-service"),
    ("inventory.event", "inventory-service"),
    ("account.event", "account-service"),
    ("payment.event", "payment-service"),
    ("command", "api-gateway"),
];

impl Messages {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Where nats-server cannot be reached.
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
        Ok(Self { provisioner, producers, held: Vec::new(), random: random(seed, Purpose::Republish) })
    }

    /// Returns a JetStream context that may look at everything.
    #[must_use]
    pub fn jetstream(&self) -> jetstream::Context {
        connection::jetstream(&self.provisioner)
    }

    async fn stream(&self, name: &str) -> anyhow::Result<Stream> {
        self.jetstream().get_stream(name).await.with_context(|| format!("looking at {name}"))
    }

    /// Publishes messages of any age again, under the same `ce-id` and another `Nats-Msg-Id`, so that the stream takes
    /// them: what a publisher does whose acknowledgement was lost for longer than the duplicate window.
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
                // Those of the server say where the message was read, and not where the repeated one will be.
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
        self.producers.get(context.as_str()).with_context(|| format!("nobody speaks on {subject}"))
    }

    /// Sets a consumer back by so many messages of its stream.
    pub(super) async fn replay(&self, stream: &str, consumer: &str, count: u64) -> anyhow::Result<()> {
        redelivery::set_back(&self.provisioner, stream, consumer, count).await
    }

    /// Lets a consumer deliver nothing, or deliver again.
    pub(super) async fn hold(
        &mut self,
        stream: &'static str,
        consumer: &'static str,
        held: bool,
    ) -> anyhow::Result<()> {
        let looked = self.stream(stream).await?;
        if held {
            self.held.push((stream, consumer));
            let until = SystemTime::now() + MAX_HOLD;
            looked.pause_consumer(consumer, until.into()).await.context("holding a consumer")?;
        } else {
            looked.resume_consumer(consumer).await.context("releasing a consumer")?;
            self.held.retain(|other| *other != (stream, consumer));
        }
        Ok(())
    }

    /// Releases every consumer that is held.
    pub(super) async fn hold_none(&mut self) -> anyhow::Result<()> {
        for (stream, consumer) in self.held.clone() {
            self.hold(stream, consumer, false).await?;
        }
        Ok(())
    }
}
