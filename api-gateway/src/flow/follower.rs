//! Follows the streams while somebody watches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, jetstream};
use contracts::catalogue::Listeners;
use contracts::topology::{API_GATEWAY, COMMANDS, EVENTS};
use messaging::clock;
use messaging::envelope::{self, rfc3339};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::census::{Census, Found};
use super::representation::{FlowMessage, FlowMessages, FlowState};
use super::tally::{Sample, Tally, routes};
use super::{Hub, LINGER};
use crate::tail::{Follow, Followed, Tail, Tailed};

/// How often samples are sent.
const SAMPLES: Duration = Duration::from_millis(250);
/// How often states are.
const STATES: Duration = Duration::from_secs(1);
/// Messages pulled at a time, and on their way from a stream to the tally.
const BATCH: usize = 512;
/// So far behind, what is missed is missed: a picture of now is wanted.
const FAR_BEHIND: u64 = 50_000;

/// What comes out of a stream.
enum Heard {
    Message(&'static str, Box<Tailed>),
    /// So many were left out.
    Missed(u64),
}

/// Follows whenever somebody watches, for ever.
pub(super) async fn run(client: Client, js: jetstream::Context, hub: Arc<Hub>) -> anyhow::Result<()> {
    let listeners = Listeners::declared()?;
    loop {
        hub.watched().await;
        follow(&client, &js, &hub, &listeners).await;
        hub.keep(None);
    }
}

/// Follows until nobody has watched for a while.
async fn follow(client: &Client, js: &jetstream::Context, hub: &Hub, listeners: &Listeners) {
    let (sender, mut heard) = mpsc::channel(BATCH);
    // Ends with this function.
    let mut tails = JoinSet::new();
    for stream in [COMMANDS, EVENTS] {
        let follow = Follow { stream, filter: Vec::new(), headers_only: true, batch: BATCH };
        tails.spawn(read(Tail::new(client.clone(), js.clone(), follow, None), stream, sender.clone()));
    }
    let mut services = listeners.services();
    services.insert(0, API_GATEWAY);
    let mut census = Census::new(client.clone(), js.clone(), &services);
    let mut tally = Tally::new(routes(listeners), Instant::now());
    let mut sample = Sample::new();
    let mut flush = tokio::time::interval(SAMPLES);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut states = tokio::time::interval(STATES);
    states.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = Box::pin(look(&mut census, &mut states));
    let mut watched = Instant::now();
    loop {
        tokio::select! {
            Some(heard) = heard.recv() => hear(heard, &mut tally, &mut sample),
            _ = flush.tick() => {
                if hub.is_watched() {
                    watched = Instant::now();
                } else if watched.elapsed() > LINGER {
                    return;
                }
                let (shown, seen) = sample.take();
                if seen > 0 {
                    hub.tell("messages", &messages(&shown, seen, &tally));
                }
            }
            (found, census, states) = &mut looking => {
                hub.tell_state(&state(found, &mut tally));
                looking.set(look(census, states));
            }
        }
    }
}

/// Looks when it is time, and gives back what it needs for the next time.
async fn look<'a>(
    census: &'a mut Census,
    states: &'a mut tokio::time::Interval,
) -> (Found, &'a mut Census, &'a mut tokio::time::Interval) {
    states.tick().await;
    (census.look().await, census, states)
}

/// Reads a stream until nobody hears it any more.
async fn read(mut tail: Tail, stream: &'static str, sender: mpsc::Sender<Heard>) {
    loop {
        // What is missing is missed: a picture of now is wanted.
        let Followed::Message(tailed) = tail.next().await else { continue };
        let behind = tailed.pending;
        if sender.send(Heard::Message(stream, Box::new(tailed))).await.is_err() {
            return;
        }
        if behind > FAR_BEHIND {
            tail.skip();
            if sender.send(Heard::Missed(behind)).await.is_err() {
                return;
            }
        }
    }
}

fn hear(heard: Heard, tally: &mut Tally, sample: &mut Sample<(&'static str, Box<Tailed>)>) {
    match heard {
        Heard::Message(stream, tailed) => {
            let message_type = header(&tailed, envelope::TYPE).unwrap_or_default();
            let key = header(&tailed, envelope::SUBJECT).unwrap_or_default();
            tally.hear(message_type, key, tailed.published);
            sample.push((stream, tailed));
        }
        Heard::Missed(count) => sample.miss(count),
    }
}

fn state(found: Found, tally: &mut Tally) -> FlowState {
    let Found { broker, services, streams } = found;
    let (edges, orders) = tally.sum_up(Instant::now());
    FlowState { at: rfc3339(clock::now()), broker, services, streams, edges, orders }
}

fn messages(shown: &[(&'static str, Box<Tailed>)], seen: u64, tally: &Tally) -> FlowMessages {
    let messages: Vec<FlowMessage> =
        shown.iter().filter_map(|(stream, tailed)| message(stream, tailed, tally)).collect();
    FlowMessages { shown: messages.len() as u64, messages, seen }
}

/// Makes what clients see of a message; `None` for what is none of the store's.
fn message(stream: &str, tailed: &Tailed, tally: &Tally) -> Option<FlowMessage> {
    let text = |name: &str| header(tailed, name).map(str::to_owned);
    let message_type = text(envelope::TYPE)?;
    let route = tally.route(&message_type)?;
    Some(FlowMessage {
        sequence: tailed.id.sequence,
        stream: stream.to_owned(),
        id: text(envelope::ID)?,
        kind: route.kind.to_owned(),
        source: text(envelope::SOURCE)?.trim_start_matches('/').to_owned(),
        to: route.to.clone(),
        key: text(envelope::SUBJECT)?,
        subject: tailed.message.subject.to_string(),
        time: text(envelope::TIME)?,
        correlation_id: text(envelope::CORRELATION_ID)?,
        causation_id: text(envelope::CAUSATION_ID).into(),
        r#type: message_type,
    })
}

fn header<'a>(tailed: &'a Tailed, name: &str) -> Option<&'a str> {
    Some(tailed.message.headers.as_ref()?.get(name)?.as_str())
}
