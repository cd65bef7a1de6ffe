//! The fixed baseline *bare*: what nats-server does for four plain messages per order.
//!
//! Unlike the [baseline](crate::baseline), it does not depend on the messages of the shop: a fatter message makes the shop
//! slower and this one not. Four messages per order of 150 bytes with one header (`Nats-Msg-Id`) on fixed subjects pass
//! three empty stages in two processes, as the commands and events of the short chain do: consumers with one filter
//! subject each, no users, no permissions. The nats-server has its default configuration, and the environment of the
//! shop's.

use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, stream};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use choreography::envelope::NATS_MESSAGE_ID;
use choreography_test::{NatsServer, Program, ProgramSettings, free_port, nats};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::drive::{BATCH, DRAIN_TIMEOUT, Mark, Round};
use crate::ledger::Ledger;
use crate::options::Span;
use crate::orders::Outbound;
use crate::pipeline::Pipeline;
use crate::stage::{self, Stage};
use crate::usage::{Counted, Processes};

/// The subcommand of its processes.
pub const SERVICE: &str = "bare-service";
const STREAM: &str = "BARE";
/// The subject of each message of an order, in their order.
const SUBJECTS: [&str; 4] = ["bare.a", "bare.b", "bare.c", "bare.d"];
/// The stages of each process, by the index of the message that they consume. Each publishes the next message.
const PROCESSES: [(&str, &[usize]); 2] = [("bare 1 and 3", &[0, 2]), ("bare 2", &[1])];
const BODY: &[u8] = &[b'x'; 150];
/// The number of messages per pull, as in a service.
const PULL: usize = 256;
/// The maximum number of unacknowledged publishes.
const MAX_UNACKNOWLEDGED: u64 = 4096;

/// Measures one round beside a shop whose services are stopped meanwhile.
///
/// # Errors
///
/// If a process does not start, or a message is lost.
pub async fn round(stage: &mut Stage, span: Span) -> anyhow::Result<Round> {
    stage.stop_services().await?;
    let data = stage.data().join("bare");
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let program = nats::find_or_install(|_| {}).await?;
    let mut server = NatsServer::builder(program)
        .port(free_port())
        .monitor_port(free_port())
        .store_dir(&data)
        .environment("GOGC", "400")
        .start()
        .await?;
    let client = async_nats::connect(server.url()).await.context("connecting to nats-server")?;
    let js = jetstream::new(client.clone());
    provision(&js).await?;
    let on_line = stage::log(&stage.data().join("bare.log"))?;
    let mut programs = Vec::new();
    let mut processes = Processes::new();
    for (name, stages) in PROCESSES {
        let on_line = on_line.clone();
        let stages = stages.iter().map(usize::to_string);
        let program = Program::start(ProgramSettings {
            name: name.to_owned(),
            program: stage::own_program()?,
            arguments: [SERVICE.to_owned(), server.url()].into_iter().chain(stages).collect(),
            variables: Vec::new(),
            on_line: std::sync::Arc::new(move |line| on_line(demo::Component::OrderService, line)),
        })?;
        processes.extend(program.id().map(|id| (name.to_owned(), Counted::Alone(id))));
        programs.push(program);
    }
    processes.extend(server.id().map(|id| ("nats-server".to_owned(), Counted::Alone(id))));
    processes.insert("bench".to_owned(), Counted::Alone(std::process::id()));
    let round = drive(&client, &js, stage.window, span, &processes).await?;
    for program in &mut programs {
        program.stop().await?;
    }
    server.stop().await?;
    std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    stage.start_services().await?;
    Ok(round)
}

/// Creates the stream and a consumer per stage.
async fn provision(js: &jetstream::Context) -> anyhow::Result<()> {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: SUBJECTS.map(str::to_owned).to_vec(),
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    let stream = js.create_stream(config).await.context("creating the stream")?;
    for (_, stages) in PROCESSES {
        for index in stages {
            let consumer = pull::Config {
                durable_name: Some(consumer(*index)),
                filter_subject: SUBJECTS[*index].to_owned(),
                max_ack_pending: 20_000,
                ..pull::Config::default()
            };
            stream.create_consumer(consumer).await.context("creating a consumer")?;
        }
    }
    Ok(())
}

fn consumer(stage: usize) -> String {
    format!("stage-{stage}")
}

/// Returns a message of an order.
fn message(index: usize, number: u64) -> Outbound {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, format!("{index}-{number}"));
    Outbound { subject: SUBJECTS[index].to_owned(), headers, body: Bytes::from_static(BODY) }
}

/// Returns the number of the order that a message is about.
fn number_of(message: &async_nats::Message) -> Option<u64> {
    let id = message.headers.as_ref()?.get(NATS_MESSAGE_ID)?.as_str();
    id.split_once('-')?.1.parse().ok()
}

/// Closed-loop load, as [`drive`](crate::drive::drive) for the shop.
async fn drive(
    client: &Client,
    js: &jetstream::Context,
    window: u64,
    span: Span,
    processes: &Processes,
) -> anyhow::Result<Round> {
    let config = pull::Config {
        filter_subject: SUBJECTS[SUBJECTS.len() - 1].to_owned(),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..pull::Config::default()
    };
    let ends: PullConsumer =
        js.create_consumer_on_stream(config, STREAM).await.context("following the messages")?;
    let mut load = Load {
        ends: ends.stream().max_messages_per_batch(1024).expires(Duration::from_secs(30)).messages().await?,
        pipeline: Pipeline::open(client, false).await?,
        ledger: Ledger::starting_at(1),
        unacknowledged: 0,
        window,
    };
    load.run_until(Instant::now() + span.warm_up()).await?;
    let begin = Mark::new(&load.ledger, processes)?;
    load.run_until(begin.at + span.length()).await?;
    let end = Mark::new(&load.ledger, processes)?;
    let start = Instant::now();
    load.window = 0;
    while load.ledger.in_flight() + load.unacknowledged > 0 {
        if start.elapsed() > DRAIN_TIMEOUT {
            bail!("{} orders are not completed", load.ledger.in_flight());
        }
        load.step(start + DRAIN_TIMEOUT + Duration::from_secs(1)).await?;
    }
    let messages = js.get_stream(STREAM).await?.cached_info().state.last_sequence;
    Ok(Round::between(&begin, &end, &load.ledger, messages))
}

struct Load {
    ends: pull::Stream,
    pipeline: Pipeline,
    ledger: Ledger,
    unacknowledged: u64,
    window: u64,
}

impl Load {
    async fn run_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        while Instant::now() < deadline {
            self.step(deadline).await?;
        }
        Ok(())
    }

    /// Places orders up to the window, and handles what arrives next; returns at the deadline at the latest.
    async fn step(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let count = self.window.saturating_sub(self.ledger.in_flight()).min(BATCH as u64);
        let messages: Vec<_> = (0..count).map(|_| message(0, self.ledger.place())).collect();
        self.unacknowledged += count;
        self.pipeline.send(messages).await?;
        let mut ends = self.ends.by_ref().ready_chunks(BATCH);
        tokio::select! {
            acknowledged = self.pipeline.acknowledged() => self.unacknowledged -= acknowledged?,
            ended = ends.next() => for message in ended.context("the connection is closed")? {
                if let Some(number) = number_of(&message?.message) {
                    self.ledger.finish(number);
                }
            },
            () = sleep_until(deadline) => {}
        }
        Ok(())
    }
}

/// A process of this baseline: it consumes messages, and publishes the next message of each order.
#[derive(Debug, Clone, clap::Parser)]
pub struct BareService {
    /// The URL of nats-server.
    url: String,
    /// The indices of the messages that it consumes.
    #[arg(required = true, value_parser = clap::value_parser!(u64).range(..SUBJECTS.len() as u64 - 1))]
    stages: Vec<u64>,
}

impl BareService {
    /// Processes messages until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// If the broker refuses a request.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let client = async_nats::connect(&self.url).await.context("connecting to nats-server")?;
        let js = jetstream::new(client.clone());
        let mut pulls = futures::stream::SelectAll::new();
        for stage in &self.stages {
            let index = usize::try_from(*stage)?;
            let consumer: PullConsumer = js.get_consumer_from_stream(consumer(index), STREAM).await?;
            let messages = consumer.stream().max_messages_per_batch(PULL).expires(Duration::from_secs(30));
            pulls.push(
                messages.messages().await?.map(move |message| message.map(|message| (index, message))).boxed(),
            );
        }
        let mut pulls = pulls.ready_chunks(PULL);
        let mut pipeline = Pipeline::open(&client, false).await?;
        let mut unacknowledged = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                acknowledged = pipeline.acknowledged() => unacknowledged -= acknowledged?,
                pulled = pulls.next(), if unacknowledged < MAX_UNACKNOWLEDGED => {
                    let pulled = pulled.context("the pull has ended")?.into_iter().collect::<Result<Vec<_>, _>>()?;
                    let next = |(index, consumed): &(usize, jetstream::Message)| {
                        number_of(&consumed.message).map(|number| message(index + 1, number))
                    };
                    let published: Vec<_> = pulled.iter().filter_map(next).collect();
                    unacknowledged += published.len() as u64;
                    pipeline.send(published).await?;
                    for (_, consumed) in &pulled {
                        if let Err(error) = consumed.ack_with(AckKind::Ack).await {
                            bail!("a message cannot be acknowledged: {error}");
                        }
                    }
                }
            }
        }
        client.flush().await.context("sending the last acknowledgements")
    }
}
