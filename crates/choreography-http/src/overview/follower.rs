//! Follows the streams while there are clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, jetstream};
use choreography::envelope;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::discovery::{Discovered, Discovery};
use super::hub::Hub;
use super::rates::{FlowStats, MessageRates, routes};
use super::representation::{OverviewEdge, OverviewMessage, OverviewMessages};
use super::sample::Sample;
use super::system::System;
use crate::stream_follower::{Follow, Followed, FollowedMessage, StreamFollower};

/// How long it continues after the last client, which may be reloading the page.
const LINGER: Duration = Duration::from_secs(5);
/// How often samples are sent.
const SAMPLES: Duration = Duration::from_millis(250);
/// How often states are sent.
const STATES: Duration = Duration::from_secs(1);
/// How many messages are pulled at a time, and buffered between a stream and the rates.
const BATCH: usize = 512;
/// The follower skips a longer backlog: the overview shows the present.
const MAX_LAG: u64 = 50_000;

/// The state of the system. Rates and latencies cover the last ten seconds.
#[derive(Debug, Clone)]
pub struct SystemState {
    /// The services and streams.
    pub discovered: Discovered,
    /// Every message type with a consumer, one edge per consumer.
    pub edges: Vec<OverviewEdge>,
    /// The rates and latencies of flows.
    pub flows: FlowStats,
}

/// The output of a stream reader.
enum Received {
    Message(&'static str, Box<FollowedMessage>),
    /// The number of skipped messages.
    Missed(u64),
}

/// Follows the streams whenever there are clients, forever.
pub(super) async fn run(
    client: Client,
    js: jetstream::Context,
    hub: Arc<Hub>,
    system: System,
    state: fn(SystemState) -> String,
) {
    loop {
        hub.wait_for_client().await;
        follow(&client, &js, &hub, &system, state).await;
        hub.keep(None);
    }
}

/// Follows the streams until there have been no clients for [`LINGER`].
async fn follow(
    client: &Client,
    js: &jetstream::Context,
    hub: &Hub,
    system: &System,
    state: fn(SystemState) -> String,
) {
    let (sender, mut received) = mpsc::channel(BATCH);
    // The readers end with this function.
    let mut readers = JoinSet::new();
    for &stream in &system.followed {
        let program = system.program;
        let follow = Follow { program, stream, filter: Vec::new(), headers_only: true, batch: BATCH };
        readers.spawn(read(StreamFollower::new(client.clone(), js.clone(), follow, None), stream, sender.clone()));
    }
    let mut discovery = Discovery::new(client.clone(), js.clone(), system);
    let mut rates = MessageRates::new(routes(&system.declarations), system.flow, Instant::now());
    let mut sample = Sample::new();
    let mut flush = tokio::time::interval(SAMPLES);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut states = tokio::time::interval(STATES);
    states.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut polling = Box::pin(poll(&mut discovery, &mut states));
    let mut watched = Instant::now();
    loop {
        tokio::select! {
            Some(received) = received.recv() => record(received, &mut rates, &mut sample),
            _ = flush.tick() => {
                if hub.is_watched() {
                    watched = Instant::now();
                } else if watched.elapsed() > LINGER {
                    return;
                }
                let (shown, seen) = sample.take();
                if seen > 0 {
                    hub.send_messages(&messages(&shown, seen, &rates));
                }
            }
            (discovered, discovery, states) = &mut polling => {
                let (edges, flows) = rates.sum_up(Instant::now());
                hub.send_state(state(SystemState { discovered, edges, flows }));
                polling.set(poll(discovery, states));
            }
        }
    }
}

/// Polls at the next tick, and returns its arguments for the next poll.
async fn poll<'a>(
    discovery: &'a mut Discovery,
    states: &'a mut tokio::time::Interval,
) -> (Discovered, &'a mut Discovery, &'a mut tokio::time::Interval) {
    states.tick().await;
    (discovery.poll().await, discovery, states)
}

/// Reads a stream until the receiver is dropped.
async fn read(mut follower: StreamFollower, stream: &'static str, sender: mpsc::Sender<Received>) {
    loop {
        // A reset needs no action: the overview shows the present.
        let Followed::Message(followed) = follower.next().await else { continue };
        let behind = followed.pending;
        if sender.send(Received::Message(stream, Box::new(followed))).await.is_err() {
            return;
        }
        if behind > MAX_LAG {
            follower.skip();
            if sender.send(Received::Missed(behind)).await.is_err() {
                return;
            }
        }
    }
}

fn record(received: Received, rates: &mut MessageRates, sample: &mut Sample<(&'static str, Box<FollowedMessage>)>) {
    match received {
        Received::Message(stream, followed) => {
            let message_type = followed.header(envelope::TYPE).unwrap_or_default();
            let key = followed.header(envelope::SUBJECT).unwrap_or_default();
            rates.record(message_type, key, followed.published);
            sample.push((stream, followed));
        }
        Received::Missed(count) => sample.miss(count),
    }
}

fn messages(shown: &[(&'static str, Box<FollowedMessage>)], seen: u64, rates: &MessageRates) -> OverviewMessages {
    let messages: Vec<OverviewMessage> =
        shown.iter().filter_map(|(stream, followed)| message(stream, followed, rates)).collect();
    OverviewMessages { shown: messages.len() as u64, messages, seen }
}

/// Builds a message of the overview; `None` if it is not a declared message.
fn message(stream: &str, followed: &FollowedMessage, rates: &MessageRates) -> Option<OverviewMessage> {
    let text = |name: &str| followed.header(name).map(str::to_owned);
    let message_type = text(envelope::TYPE)?;
    let route = rates.route(&message_type)?;
    Some(OverviewMessage {
        sequence: followed.id.sequence,
        stream: stream.to_owned(),
        id: text(envelope::ID)?,
        kind: route.kind.to_owned(),
        source: text(envelope::SOURCE)?.trim_start_matches('/').to_owned(),
        to: route.to.clone(),
        key: text(envelope::SUBJECT)?,
        subject: followed.message.subject.to_string(),
        time: text(envelope::TIME)?,
        correlation_id: text(envelope::CORRELATION_ID)?,
        causation_id: text(envelope::CAUSATION_ID).into(),
        r#type: message_type,
    })
}
