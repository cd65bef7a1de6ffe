//! The broker-only baseline: the same messages on the same broker, through processes that only pull, publish, and ack.
//!
//! The services of the shop are stopped, and one baseline process per service pulls from the service's consumers as its
//! user. For each message it publishes the messages that the sampled one caused, with the same subjects, headers, and
//! sizes. It decodes nothing and stores nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use choreography::connection::{self, NatsOptions};
use choreography::{Health, envelope};
use choreography_test::Program;
use contracts::declaration::topology;
use demo::shop::settings;
use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::drive::{self, Round};
use crate::options::Span;
use crate::orders::{Outbound, message_id, read_id};
use crate::pipeline::Pipeline;
use crate::sample::{Message, Sample};
use crate::stage::{self, Stage};
use crate::usage::{Counted, Processes};

/// The number of messages per pull, as in a service.
const PULL: usize = 256;
/// The maximum number of unacknowledged publishes.
const MAX_UNACKNOWLEDGED: u64 = 4096;
/// How long the last acknowledgements may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Measures one round of the baseline; the services of the stage are stopped for it and restarted afterwards.
///
/// # Errors
///
/// If a process does not start, or a message is lost.
pub async fn round(stage: &mut Stage, span: Span) -> anyhow::Result<Round> {
    stage.stop_services().await?;
    let config = stage.shop.config().clone();
    let sample = config.data.join("sample.json");
    std::fs::write(&sample, serde_json::to_vec_pretty(&stage.sample)?).context("writing the sample")?;
    let on_line = stage::log(&config.data.join("baseline.log"))?;
    let mut programs = Vec::new();
    for component in stage.chain.services() {
        let mut settings = settings(&config, *component, &on_line);
        settings.program = stage::own_program()?;
        let sample = sample.display().to_string();
        settings.arguments = vec!["baseline-service".to_owned(), component.name().to_owned(), sample];
        settings.arguments.extend(stage.atomic.then(|| "--atomic".to_owned()));
        programs.push((component.name().to_owned(), Program::start(settings)?));
    }
    let mut processes: Processes =
        programs.iter().filter_map(|(name, program)| Some((name.clone(), Counted::Alone(program.id()?)))).collect();
    for (name, counted) in stage.processes() {
        processes.entry(name).or_insert(counted);
    }
    let round = drive::drive(stage, span, &processes, 1).await?;
    wait_until_settled(stage).await?;
    for (_, program) in &mut programs {
        program.stop().await?;
    }
    stage.start_services().await?;
    Ok(round)
}

/// Waits until the consumers of the services have no pending and no unacknowledged messages.
async fn wait_until_settled(stage: &Stage) -> anyhow::Result<()> {
    let topology = topology()?;
    let start = Instant::now();
    loop {
        let mut left = 0;
        for service in stage.chain.services() {
            for stream in topology.streams_of(service.name()) {
                let consumer: PullConsumer =
                    stage.provisioner.get_consumer_from_stream(service.name(), stream).await?;
                let info = consumer.cached_info();
                left += info.num_pending + info.num_ack_pending as u64;
            }
        }
        if left == 0 {
            return Ok(());
        }
        if start.elapsed() > SETTLE_TIMEOUT {
            bail!("{left} messages of the baseline were not acknowledged");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process of the baseline.
#[derive(Debug, Clone, clap::Parser)]
pub struct BaselineService {
    /// The service whose consumers it pulls from.
    service: String,
    /// The file of the sample.
    sample: PathBuf,
    /// Publish in atomic batches.
    #[arg(long)]
    atomic: bool,
    /// The connection to the broker.
    #[command(flatten)]
    nats: NatsOptions,
}

/// An outgoing message without ids.
struct Template {
    name: String,
    /// Distinguishes its id from those of the other messages of the order.
    kind: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl BaselineService {
    /// Processes messages until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// If the broker refuses a request.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let client = connection::connect(&self.nats, &self.service, &Health::default()).await?;
        let js = connection::jetstream(&client);
        let sample: Sample = serde_json::from_slice(&std::fs::read(&self.sample)?).context("reading the sample")?;
        let templates = templates(&sample, &self.service);
        let mut pulls = futures::stream::SelectAll::new();
        for stream in topology()?.streams_of(&self.service) {
            let consumer: PullConsumer = js.get_consumer_from_stream(self.service.as_str(), stream).await?;
            let messages = consumer.stream().max_messages_per_batch(PULL).expires(Duration::from_secs(30));
            pulls.push(messages.messages().await?);
        }
        let mut pulls = pulls.ready_chunks(PULL);
        let mut pipeline = Pipeline::open(&client, self.atomic).await?;
        let mut unacknowledged = 0;
        loop {
            pipeline.flush().await?;
            tokio::select! {
                () = shutdown.cancelled() => break,
                acknowledged = pipeline.acknowledged() => unacknowledged -= acknowledged?,
                messages = pulls.next(), if unacknowledged < MAX_UNACKNOWLEDGED => {
                    let messages = messages.context("the pull has ended")?;
                    let messages = messages.into_iter().collect::<Result<Vec<_>, _>>()?;
                    unacknowledged += process(&messages, &templates, &mut pipeline).await?;
                }
            }
        }
        client.flush().await.context("sending the last acknowledgements")
    }
}

/// Returns the messages that a service publishes for each message, by the name of the latter.
fn templates(sample: &Sample, service: &str) -> BTreeMap<String, Vec<Template>> {
    let kind = |message: &Message| {
        let index = sample.messages.iter().position(|other| other == message).unwrap_or_default();
        u16::try_from(index + 1).unwrap_or(u16::MAX)
    };
    let template = |message: &Message| Template {
        name: message.name.clone(),
        kind: kind(message),
        headers: message.headers.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.insert(name.as_str(), value.as_str());
            headers
        }),
        body: message.body.clone().into(),
    };
    sample
        .messages
        .iter()
        .map(|message| {
            let caused = sample.caused_by(&message.name, service);
            (message.name.clone(), caused.into_iter().map(template).collect())
        })
        .collect()
}

/// Publishes the messages that these cause, acknowledges these, and returns the number of published messages.
async fn process(
    messages: &[jetstream::Message],
    templates: &BTreeMap<String, Vec<Template>>,
    pipeline: &mut Pipeline,
) -> anyhow::Result<u64> {
    let mut outbound = Vec::with_capacity(messages.len());
    for message in messages {
        let Some((name, key)) = message.subject.rsplit_once('.') else { continue };
        let Some((run, number)) = read_id(key) else { continue };
        for template in templates.get(name).into_iter().flatten() {
            let id = message_id(run, template.kind, number);
            let mut headers = template.headers.clone();
            headers.insert(envelope::SUBJECT, key);
            headers.insert(envelope::ID, id.as_str());
            headers.insert(envelope::NATS_MESSAGE_ID, id);
            outbound.push(Outbound {
                subject: format!("{}.{key}", template.name),
                headers,
                body: template.body.clone(),
            });
        }
    }
    let count = outbound.len() as u64;
    pipeline.send(outbound).await?;
    for message in messages {
        if let Err(error) = message.ack_with(AckKind::Ack).await {
            bail!("a message cannot be acknowledged: {error}");
        }
    }
    Ok(count)
}
